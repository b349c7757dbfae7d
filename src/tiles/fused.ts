/** Chooses the fused kernel and its tiles: a pure function of the problem, the device's facts and what the caller forces. Loaded when first needed. */
import { isVec4, type Problem } from '../contract/problem.ts';
import type { Variant } from '../gpu/kernel.ts';
import { scoreFlags } from '../kernels/band.ts';
import { hasTail, skipsZeros } from '../kernels/context.ts';
import { checkBaselineTiles, checkDecodeTiles, checkQuadTiles, checkRowTiles, rowTails } from './checks.ts';
import { type Choice, force, forcedOf, rowsAtATime } from './choice.ts';
import { decodeTiles, isDecode } from './decode.ts';
import type { DeviceFacts } from './facts.ts';
import { leastShape, quadClassOf, quadShape } from './quad-classes.ts';

export type FusedKernel = 'flash_forward' | 'flash_forward_quad' | 'flash_forward_row' | 'flash_decode';

/** The fused pass: its kernel and the kernel's tiles. `problem.variant` forces the kernel whose name it has. */
export function chooseFusedTiles(problem: Problem, facts: DeviceFacts): { kernel: FusedKernel } & Choice {
  const forced = Object.keys(problem.variant)[0]?.split('.')[0];
  const kernel = isFusedKernel(forced)
    ? forced
    : isDecode(problem, facts)
      ? 'flash_decode'
      : !facts.hasQuads
        ? 'flash_forward'
        : facts.isSoftware
          ? 'flash_forward_row'
          : 'flash_forward_quad';
  const tiles = FUSED_TILES[kernel](problem, facts);
  const choice = force({ [kernel]: tiles }, problem)[kernel]!;
  FUSED_CHECKS[kernel](choice.variant, problem, facts);
  return { kernel, ...choice };
}

const FUSED_TILES: Record<FusedKernel, (problem: Problem, facts: DeviceFacts) => Choice> = {
  flash_forward: baselineTiles,
  flash_forward_quad: quadTiles,
  flash_forward_row: rowTiles,
  flash_decode: decodeTiles,
};
const FUSED_CHECKS: Record<FusedKernel, (variant: Variant, problem: Problem, facts: DeviceFacts) => void> = {
  flash_forward: checkBaselineTiles,
  flash_forward_quad: checkQuadTiles,
  flash_forward_row: checkRowTiles,
  flash_decode: checkDecodeTiles,
};
/** The library's tiles for a kernel, also where it would choose another kernel for the problem. */
export const ownShape = (kernel: FusedKernel, problem: Problem, facts: DeviceFacts): Variant => FUSED_TILES[kernel](problem, facts).variant;

const isFusedKernel = (name: string | undefined): name is FusedKernel => name !== undefined && Object.hasOwn(FUSED_TILES, name);

const fusedFlags = (problem: Problem) => ({ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined });

function baselineTiles(problem: Problem, facts: DeviceFacts): Choice {
  const { N, Dv, q, k } = problem;
  const shape = baselineShape(problem, holdsManyBlocks(facts));
  const variant = { Q: q.dtype, K: k.dtype, ...shape, ...fusedFlags(problem) };
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
function quadTiles(problem: Problem, facts: DeviceFacts): Choice {
  const { N, D, Dv, q, k } = problem;
  const { name, forward, width } = quadClassOf(facts);
  const shape = quadShape(N, Math.max(D, Dv), facts, (rows, vecs) => rows * vecs <= forward) ?? leastShape(facts);
  const variant = {
    ...{ Q: q.dtype, K: k.dtype, VEC4: isVec4(problem), WIDTH: width, SIZE: 64 },
    ...{ ...shape, D, DV: Dv, ...fusedFlags(problem) },
  };
  return { variant, reason: `subgroups, class "${name}"; ${shape.LANES} lanes share ${shape.ROWS} queries of ${Math.max(D, Dv)}` };
}

/**
 * As many queries an invocation as compilers for the CPU can handle: the length of the kernel's code grows with ROWS · D. With 8 lanes and heads of 64,
 * lavapipe takes twice as long to compile 8 queries as 4, and 15% longer to run them (24 Nov 2026).
 */
function rowTiles(problem: Problem, { subgroupSizes }: DeviceFacts): Choice {
  const { N, D, Dv, q, k } = problem;
  const size = Math.max(4, Math.min(subgroupSizes[1], 64));
  const blocks = (width: number) => 2 ** Math.ceil(Math.log2(width / 16));
  const dBlocks = Math.max(1, blocks(D));
  const dvBlocks = Math.max(1, blocks(Dv));
  const most = Math.min(subgroupSizes[1] > 4 ? 4 : 8, 32 / Math.max(dBlocks, dvBlocks));
  const rows = Math.min(most, 2 ** Math.ceil(Math.log2(N / size)));
  const shape = { D_BLOCKS: dBlocks, DV_BLOCKS: dvBlocks };
  const tails = rowTails(problem, { ...shape, ...forcedOf('flash_forward_row', problem) });
  const variant = {
    ...{ Q: q.dtype, K: k.dtype, VEC4: isVec4(problem), SIZE: size, ROWS: Math.max(1, rows) },
    ...{ ...shape, ...tails, ...fusedFlags(problem) },
    // SKIP_ZEROS is true for one query whatever the number of keys, so that a step of a decoder compiles nothing new.
    ...{ ...scoreFlags(problem), SKIP_ZEROS: skipsZeros(problem) || hasTail(problem, 4) || N === 1 },
  };
  return { variant, reason: `a software device with subgroups; ${variant.ROWS} queries an invocation for heads of ${Math.max(D, Dv)}` };
}
