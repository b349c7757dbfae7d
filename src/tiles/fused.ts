/** Chooses the fused kernel and its tiles: a pure function of the problem, the device's facts and what the caller forces. Loaded when first needed. */
import { isVec4, type Problem } from '../contract/problem.ts';
import type { TunableKernel, Variant } from '../gpu/kernel.ts';
import { scoreFlags } from '../kernels/band.ts';
import { hasTail, skipsZeros } from '../kernels/context.ts';
import { flashDecode } from '../kernels/flash_decode.ts';
import { flashForward } from '../kernels/flash_forward.ts';
import { flashForwardQuad } from '../kernels/flash_forward_quad.ts';
import { flashForwardRow } from '../kernels/flash_forward_row.ts';
import type { FusedKernel, Variants } from '../kernels/variants.ts';
import { checkBaselineTiles, checkDecodeTiles, checkQuadTiles, checkRowTiles, rowTails } from './checks.ts';
import { type Choice, checkKernels, force, forcedOf, rowsAtATime, storageOf } from './choice.ts';
import { decodeTiles, isDecode } from './decode.ts';
import type { DeviceFacts } from './facts.ts';
import { leastShape, quadClassOf, quadShape } from './quad-classes.ts';

/** A kernel of the fused pass: its own tiles, and what forced ones must keep to. */
interface Tier<Name extends FusedKernel> {
  readonly kernel: TunableKernel<Name>;
  readonly tiles: (problem: Problem, facts: DeviceFacts) => Choice<Variants[Name]>;
  readonly check: (variant: Variant, problem: Problem, facts: DeviceFacts) => void;
}

const TIERS: { readonly [Name in FusedKernel]: Tier<Name> } = {
  flash_forward: { kernel: flashForward, tiles: baselineTiles, check: checkBaselineTiles },
  flash_forward_quad: { kernel: flashForwardQuad, tiles: quadTiles, check: checkQuadTiles },
  flash_forward_row: { kernel: flashForwardRow, tiles: rowTiles, check: checkRowTiles },
  flash_decode: { kernel: flashDecode, tiles: decodeTiles, check: checkDecodeTiles },
};
const KERNELS = Object.keys(TIERS) as FusedKernel[];

/** The fused pass: its kernel and the kernel's tiles. `problem.variant` forces the kernel whose name it has. */
export function chooseFusedTiles(problem: Problem, facts: DeviceFacts): { kernel: FusedKernel } & Choice {
  const name = KERNELS.find((kernel) => Object.hasOwn(problem.variant, kernel)) ?? kernelFor(problem, facts);
  checkKernels(KERNELS, [name], problem);
  const { kernel, tiles, check } = TIERS[name];
  const own: Choice = tiles(problem, facts);
  const choice = force(kernel, own, problem);
  check(choice.variant, problem, facts);
  return { kernel: name, ...choice };
}

function kernelFor(problem: Problem, facts: DeviceFacts): FusedKernel {
  if (isDecode(problem, facts)) return 'flash_decode';
  if (!facts.hasQuads) return 'flash_forward';
  return facts.isSoftware ? 'flash_forward_row' : 'flash_forward_quad';
}

/** What the tiles choose for a kernel, whether or not it is the one for the problem. */
export const ownShape = (kernel: FusedKernel, problem: Problem, facts: DeviceFacts): Variant => TIERS[kernel].tiles(problem, facts).variant;

const fusedFlags = (problem: Problem) => ({ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined });

function baselineTiles(problem: Problem, facts: DeviceFacts): Choice<Variants['flash_forward']> {
  const { N, Dv } = problem;
  const shape = baselineShape(problem, holdsManyBlocks(facts));
  const variant = { ...storageOf(problem), ...shape, ...fusedFlags(problem) };
  return { variant, reason: `${shape.TILE_N} queries a workgroup for ${N}, ${shape.BLOCKS * shape.TILE_M} elements of out for ${Dv}` };
}

/**
 * Queries and keys a tile, and blocks of 4 × 4 elements of out an invocation. A wider tile has fewer blocks. Tiles of 128 keys have few queries and short
 * steps, so that weights and elements fit into 16 KiB of workgroup memory.
 * @param isMany whether an invocation may have 4 blocks
 */
export function baselineShape({ N, Dv }: Problem, isMany: boolean) {
  const cols = isMany ? (Dv <= 128 ? 32 : 64) : Dv <= 32 ? 32 : Dv <= 64 ? 64 : 128;
  const rows = N <= 4 ? 4 : N <= 16 || cols === 128 ? 16 : 32;
  const step = cols === 128 ? 8 : 16;
  const blocks = Math.ceil(Dv / cols);
  return { TILE_N: rows, TILE_M: cols, STEP: step, KEYS: rowsAtATime(step, rows, cols, cols * blocks), BLOCKS: blocks };
}

/**
 * Whether an invocation has registers for 4 blocks beside the numbers that it works on. Registers that Mesa 26.1 spills with 1, 2 and 4 blocks (27 Nov 2026):
 * Apple's GPUs none, none and 15; Intel's about 90, 160 and 720; AMD, NVIDIA and Adreno none with 4. Any other GPU counts as one without the registers.
 */
const holdsManyBlocks = ({ vendor, isSoftware }: DeviceFacts): boolean => isSoftware || ['amd', 'nvidia', 'qualcomm'].includes(vendor);

/** As many rows as a lane of the GPU's class may hold, over as few lanes as possible. */
function quadTiles(problem: Problem, facts: DeviceFacts): Choice<Variants['flash_forward_quad']> {
  const { N, D, Dv } = problem;
  const { name, forward, width } = quadClassOf(facts);
  const shape = quadShape(N, Math.max(D, Dv), facts, (rows, vecs) => rows * vecs <= forward) ?? leastShape(facts);
  const variant = {
    ...{ ...storageOf(problem), VEC4: isVec4(problem), WIDTH: width, SIZE: 64 },
    ...{ ...shape, D, DV: Dv, ...fusedFlags(problem) },
  };
  return { variant, reason: `subgroups, class "${name}"; ${shape.LANES} lanes share ${shape.ROWS} queries of ${Math.max(D, Dv)}` };
}

/**
 * As many queries an invocation as compilers for the CPU can handle: the length of the kernel's code grows with ROWS · D. With 8 lanes and heads of 64,
 * lavapipe takes twice as long to compile 8 queries as 4, and 15% longer to run them (24 Nov 2026).
 */
function rowTiles(problem: Problem, { subgroupSizes }: DeviceFacts): Choice<Variants['flash_forward_row']> {
  const { N, D, Dv } = problem;
  const size = Math.max(4, Math.min(subgroupSizes[1], 64));
  const blocks = (width: number) => 2 ** Math.ceil(Math.log2(width / 16));
  const dBlocks = Math.max(1, blocks(D));
  const dvBlocks = Math.max(1, blocks(Dv));
  const most = Math.min(subgroupSizes[1] > 4 ? 4 : 8, 32 / Math.max(dBlocks, dvBlocks));
  const rows = Math.min(most, 2 ** Math.ceil(Math.log2(N / size)));
  const shape = { D_BLOCKS: dBlocks, DV_BLOCKS: dvBlocks };
  const tails = rowTails(problem, { ...shape, ...forcedOf('flash_forward_row', problem) });
  const variant = {
    ...{ ...storageOf(problem), VEC4: isVec4(problem), SIZE: size, ROWS: Math.max(1, rows) },
    ...{ ...shape, ...tails, ...fusedFlags(problem) },
    // SKIP_ZEROS is true for one query whatever the number of keys, so that a step of a decoder compiles nothing new.
    ...{ ...scoreFlags(problem), SKIP_ZEROS: skipsZeros(problem) || hasTail(problem, 4) || N === 1 },
  };
  return { variant, reason: `a software device with subgroups; ${variant.ROWS} queries an invocation for heads of ${Math.max(D, Dv)}` };
}
