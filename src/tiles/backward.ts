/** Chooses the kernels of the backward pass and their tiles: a pure function of the problem, the device's facts and what the caller forces. */
import type { BackwardProblem } from '../contract/backward-problem.ts';
import { AttentionError } from '../contract/errors.ts';
import { isWholeVec4 } from '../contract/problem.ts';
import type { Layout } from '../contract/tensor.ts';
import { describeVariant, numbers, type TunableKernel, type Variant } from '../gpu/kernel.ts';
import { scoreFlags } from '../kernels/band.ts';
import { hasTail, skipsZeros } from '../kernels/context.ts';
import { flashBackwardDkv, flashBackwardDkvBytes } from '../kernels/flash_backward_dkv.ts';
import { flashBackwardDkvQuad } from '../kernels/flash_backward_dkv_quad.ts';
import { flashBackwardDkvRow } from '../kernels/flash_backward_dkv_row.ts';
import { flashBackwardDq, flashBackwardDqBytes } from '../kernels/flash_backward_dq.ts';
import { flashBackwardDqQuad } from '../kernels/flash_backward_dq_quad.ts';
import { flashBackwardDqRow } from '../kernels/flash_backward_dq_row.ts';
import { flashBackwardMask, flashBackwardMaskBytes } from '../kernels/flash_backward_mask.ts';
import type { BackwardKernel, Variants } from '../kernels/variants.ts';
import { checkLanes, checkRows, rowTails } from './checks.ts';
import { type Choice, checkFits, checkKernels, force, forcedOf, rowsAtATime, storageOf } from './choice.ts';
import type { DeviceFacts } from './facts.ts';
import { leastShape, type QuadShape, quadClassOf, quadShape } from './quad-classes.ts';

/** The gradients to compute. For each role there is one kernel a tier. */
type Role = 'dq' | 'dkv' | 'mask';

/** A kernel for a role: the problems and devices that it fits, the choice of its tiles, and the check of tiles that were forced. */
interface Tier<Name extends BackwardKernel> {
  readonly role: Role;
  readonly kernel: TunableKernel<Name>;
  readonly fits: (problem: BackwardProblem, facts: DeviceFacts) => boolean;
  readonly tiles: (problem: BackwardProblem, facts: DeviceFacts) => Choice<Variants[Name]>;
  readonly check: (variant: Variant, facts: DeviceFacts, problem: BackwardProblem) => void;
}

/** The kernels of each role, the preferred ones first. The first one that fits is taken. */
const TIERS: { readonly [Name in BackwardKernel]: Tier<Name> } = {
  flash_backward_dq_row: { role: 'dq', kernel: flashBackwardDqRow, fits: isForRows, tiles: dqRowTiles, check: checkDqRowTiles },
  flash_backward_dkv_row: { role: 'dkv', kernel: flashBackwardDkvRow, fits: isForRows, tiles: dkvRowTiles, check: checkDkvRowTiles },
  flash_backward_dq_quad: { role: 'dq', kernel: flashBackwardDqQuad, fits: isForQuads, tiles: dqQuadTiles, check: checkDqQuadTiles },
  flash_backward_dkv_quad: { role: 'dkv', kernel: flashBackwardDkvQuad, fits: isForQuads, tiles: dkvQuadTiles, check: checkDkvQuadTiles },
  flash_backward_dq: { role: 'dq', kernel: flashBackwardDq, fits: () => true, tiles: dqTiles, check: checkDqTiles },
  flash_backward_dkv: { role: 'dkv', kernel: flashBackwardDkv, fits: () => true, tiles: dkvTiles, check: checkDkvTiles },
  flash_backward_mask: { role: 'mask', kernel: flashBackwardMask, fits: () => true, tiles: maskTiles, check: checkMaskTiles },
};
const KERNELS = Object.keys(TIERS) as BackwardKernel[];

export type BackwardTiles = Readonly<Partial<Record<Role, { readonly kernel: BackwardKernel } & Choice>>>;

/** The kernel and the tiles of each role that the problem has. `problem.variant` forces the kernels whose names it has. */
export function chooseBackwardTiles(problem: BackwardProblem, facts: DeviceFacts): BackwardTiles {
  const roles: readonly Role[] = problem.dMask ? ['dq', 'dkv', 'mask'] : ['dq', 'dkv'];
  const known = KERNELS.filter((name) => roles.includes(TIERS[name].role));
  const taken = roles.map((role) => {
    const tiers = known.filter((name) => TIERS[name].role === role);
    return tiers.find((name) => Object.hasOwn(problem.variant, name)) ?? tiers.find((name) => TIERS[name].fits(problem, facts))!;
  });
  checkKernels(known, taken, problem);
  return Object.fromEntries(
    taken.map((name) => {
      const { role, kernel, tiles, check } = TIERS[name];
      const own: Choice = tiles(problem, facts);
      const choice = force(kernel, own, problem);
      check(choice.variant, facts, problem);
      return [role, { kernel: name, ...choice }];
    }),
  );
}

const STEP = 16;
/**
 * The most blocks of 4 × 4 sums that an invocation keeps, beside those of the scores and of dO · v. Registers that Mesa 26.1's compilers spill (27 Nov 2026):
 * with 4 blocks (64 numbers) none for AMD and NVIDIA, 2 for Adreno, 87 to 98 for Apple's GPUs; with 2 blocks none for Apple's GPUs, 175 to 225 for Intel's.
 * 2 blocks cost half as many multiply-adds more than 4, because every slice of the sums makes the scores again. The vendor of Apple's GPUs on Linux is 'mesa'.
 */
const mostBlocks = ({ vendor, isSoftware }: DeviceFacts): number => (!isSoftware && ['apple', 'intel', 'mesa'].includes(vendor) ? 2 : 4);

/** Blocks of an invocation. As few workgroups share a head as `most` blocks allow, and they share it evenly. */
function blocksOf(width: number, blockWidth: number, most: number): number {
  const blocks = Math.ceil(width / blockWidth);
  return Math.ceil(blocks / Math.ceil(blocks / most));
}

const common = (problem: BackwardProblem) => ({
  ...storageOf(problem),
  ...{ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined },
});

const MOST_HEAD = 256; // the largest D and Dv of the quad kernels

function isForRows({ D, Dv }: BackwardProblem, { isSoftware, hasQuads }: DeviceFacts): boolean {
  return isSoftware && hasQuads && Math.max(D, Dv) <= 16 * MOST_BLOCKS;
}

function isForQuads({ D, Dv }: BackwardProblem, { isSoftware, hasQuads }: DeviceFacts): boolean {
  return !isSoftware && hasQuads && Math.max(D, Dv) <= MOST_HEAD;
}

function dqQuadTiles(problem: BackwardProblem, facts: DeviceFacts): Choice<Variants['flash_backward_dq_quad']> {
  const { N, D, Dv, dq } = problem;
  const { dq: most } = quadClassOf(facts);
  const shape = quadShape(N, Math.max(D, Dv), facts, (rows, vecs) => rows * vecs <= most) ?? leastShape(facts);
  return quadTiles(problem, facts, shape, 'queries', [dq]);
}

/** Where a lane cannot hold even its part of one key's row and sums, several workgroups (PARTS) share the sums. */
function dkvQuadTiles(problem: BackwardProblem, facts: DeviceFacts): Choice<Variants['flash_backward_dkv_quad']> {
  const { M, D, Dv, dk, dv } = problem;
  const { dkv: most } = quadClassOf(facts);
  const shapes = [1, 2, 4].flatMap((parts) => {
    const isHeld = (rows: number, vecs: number) => 2 * rows * vecs + (2 * rows + 2) * Math.ceil(vecs / parts) <= most;
    const shape = quadShape(M, Math.max(D, Dv), facts, isHeld);
    return shape ? [{ ...shape, PARTS: parts }] : [];
  });
  return quadTiles(problem, facts, shapes[0] ?? { ...leastShape(facts), PARTS: 4 }, 'keys', [dk, dv]);
}

function quadTiles<Shape extends QuadShape>(
  problem: BackwardProblem,
  facts: DeviceFacts,
  shape: Shape,
  what: string,
  outputs: readonly Layout[],
) {
  const { D, Dv } = problem;
  const { name, width } = quadClassOf(facts);
  const vecs = (size: number) => Math.ceil(size / (4 * shape.LANES));
  const tiles = { VEC4: isVec4(problem, outputs), WIDTH: width, SIZE: 64, ...shape, D_VECS: vecs(D), DV_VECS: vecs(Dv) };
  const reason = `subgroups, class "${name}"; ${shape.LANES} lanes share ${shape.ROWS} ${what} of ${Math.max(D, Dv)}`;
  return { variant: { ...common(problem), ...tiles }, reason };
}

function dqRowTiles(problem: BackwardProblem, facts: DeviceFacts): Choice<Variants['flash_backward_dq_row']> {
  return rowTiles(problem, facts, 'flash_backward_dq_row');
}

function dkvRowTiles(problem: BackwardProblem, facts: DeviceFacts): Choice<Variants['flash_backward_dkv_row']> {
  return rowTiles(problem, facts, 'flash_backward_dkv_row');
}

/** As many rows an invocation as compilers for the CPU can handle. An invocation holds rows of two inputs and of one or two sums. */
function rowTiles(problem: BackwardProblem, facts: DeviceFacts, kernel: 'flash_backward_dq_row' | 'flash_backward_dkv_row') {
  const { N, M, D, Dv, dq, dk, dv } = problem;
  const isDq = kernel === 'flash_backward_dq_row';
  const size = Math.max(4, Math.min(facts.subgroupSizes[1], 64));
  const blocks = (width: number) => Math.max(1, 2 ** Math.ceil(Math.log2(width / 16)));
  const most = Math.min(MOST_ROWS, 16 / Math.max(blocks(D), blocks(Dv)));
  const rows = Math.max(1, Math.min(most, 2 ** Math.ceil(Math.log2((isDq ? N : M) / size))));
  const shape = { D_BLOCKS: blocks(D), DV_BLOCKS: blocks(Dv) };
  const tails = rowTails(problem, { ...shape, ...forcedOf(kernel, problem) });
  const tiles = { VEC4: isVec4(problem, isDq ? [dq] : [dk, dv]), SIZE: size, ROWS: rows, ...shape, ...tails };
  const reason = `a software device with subgroups; ${rows} ${isDq ? 'queries' : 'keys'} an invocation`;
  // The last step may go beyond the last key (dq) or the last query (dkv). The keys that an invocation of dkv holds need no flag: one that does not exist
  // changes no other key, and its gradients are stored as 0.
  const isTail = isDq ? hasTail(problem, 4) : N % 4 !== 0;
  return { variant: { ...common(problem), ...tiles, ...scoreFlags(problem), SKIP_ZEROS: skipsZeros(problem) || isTail }, reason };
}

const MOST_ROWS = 4;
/**
 * The most blocks of 16 elements of a head in the row kernels. Longer heads take the baseline tier: SwiftShader compiled heads of 128 in 3 s, and heads of 256
 * in 12 s (24 Nov 2026, before the kernels' loads were in loops).
 */
const MOST_BLOCKS = 8;
const isVec4 = ({ D, Dv, q, k, v, gradient }: BackwardProblem, outputs: readonly Layout[]) =>
  isWholeVec4(D, Dv, [q, k, v, gradient, ...outputs]);

function dqTiles(problem: BackwardProblem, facts: DeviceFacts): Choice<Variants['flash_backward_dq']> {
  const { N, D } = problem;
  const [rows, cols] = [N <= 16 ? 16 : 32, 32];
  const blocks = blocksOf(D, cols, mostBlocks(facts));
  const tiles = { TILE_N: rows, TILE_M: cols, STEP, KEYS: rowsAtATime(STEP, rows, cols, cols * blocks), BLOCKS: blocks };
  return {
    variant: { ...common(problem), ...tiles },
    reason: `${rows} queries a workgroup for ${N}, ${blocks * cols} elements of dq for ${D}`,
  };
}

function dkvTiles(problem: BackwardProblem, facts: DeviceFacts): Choice<Variants['flash_backward_dkv']> {
  const { M, D, Dv } = problem;
  const [rows, cols] = [M <= 16 ? 16 : 32, 32];
  const width = Math.max(D, Dv);
  const blocks = blocksOf(width, cols, mostBlocks(facts) / 2);
  const tiles = { TILE_N: cols, TILE_M: rows, STEP, QUERIES: rowsAtATime(STEP, cols, rows, cols * blocks), BLOCKS: blocks };
  return {
    variant: { ...common(problem), ...tiles },
    reason: `${rows} keys a workgroup for ${M}, ${blocks * cols} elements of dk and dv for ${width}`,
  };
}

function maskTiles(problem: BackwardProblem): Choice<Variants['flash_backward_mask']> {
  const { SKIP_ZEROS: _, ...rest } = common(problem);
  return { variant: { ...rest, TILE_N: 32, TILE_M: 32, STEP }, reason: 'maskGradient was asked for' };
}

function checkDqTiles(variant: Variant, facts: DeviceFacts): void {
  const { TILE_N, TILE_M, STEP, KEYS, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'STEP' | 'KEYS' | 'BLOCKS'>(variant);
  if (TILE_N % 4 !== 0 || TILE_M % 4 !== 0 || TILE_M % KEYS !== 0 || BLOCKS > 4 || KEYS * BLOCKS * TILE_M > STEP * (TILE_N + TILE_M)) {
    const need = 'TILE_N and TILE_M multiples of 4, TILE_M of KEYS, BLOCKS ≤ 4, KEYS·BLOCKS·TILE_M ≤ STEP·(TILE_N + TILE_M)';
    throw new AttentionError('option', `variant: flash_backward_dq has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_backward_dq', (TILE_N * TILE_M) / 16, flashBackwardDqBytes(variant), facts);
}

function checkDkvTiles(variant: Variant, facts: DeviceFacts): void {
  const { TILE_N, TILE_M, STEP, QUERIES, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'STEP' | 'QUERIES' | 'BLOCKS'>(variant);
  if (
    TILE_N % 4 !== 0 ||
    TILE_M % 4 !== 0 ||
    TILE_N % QUERIES !== 0 ||
    BLOCKS > 2 ||
    QUERIES * BLOCKS * TILE_N > STEP * (TILE_N + TILE_M)
  ) {
    const need = 'TILE_N and TILE_M multiples of 4, TILE_N of QUERIES, BLOCKS ≤ 2, QUERIES·BLOCKS·TILE_N ≤ STEP·(TILE_N + TILE_M)';
    throw new AttentionError('option', `variant: flash_backward_dkv has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_backward_dkv', (TILE_N * TILE_M) / 16, flashBackwardDkvBytes(variant), facts);
}

function checkMaskTiles(variant: Variant, facts: DeviceFacts): void {
  const { TILE_N, TILE_M } = numbers<'TILE_N' | 'TILE_M'>(variant);
  if (TILE_N % 4 !== 0 || TILE_M % 4 !== 0) {
    const need = 'TILE_N and TILE_M multiples of 4';
    throw new AttentionError('option', `variant: flash_backward_mask has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_backward_mask', (TILE_N * TILE_M) / 16, flashBackwardMaskBytes(variant), facts);
}

function checkDqRowTiles(variant: Variant, facts: DeviceFacts, problem: BackwardProblem): void {
  checkRows('flash_backward_dq_row', [MOST_ROWS, MOST_BLOCKS], variant, problem, isVec4(problem, [problem.dq]), facts);
}

function checkDkvRowTiles(variant: Variant, facts: DeviceFacts, problem: BackwardProblem): void {
  checkRows('flash_backward_dkv_row', [MOST_ROWS, MOST_BLOCKS], variant, problem, isVec4(problem, [problem.dk, problem.dv]), facts);
}

function checkDqQuadTiles(variant: Variant, facts: DeviceFacts, problem: BackwardProblem): void {
  checkQuadTiles('flash_backward_dq_quad', variant, problem, [problem.dq], facts);
}

function checkDkvQuadTiles(variant: Variant, facts: DeviceFacts, problem: BackwardProblem): void {
  checkQuadTiles('flash_backward_dkv_quad', variant, problem, [problem.dk, problem.dv], facts);
}

function checkQuadTiles(kernel: string, variant: Variant, problem: BackwardProblem, outputs: readonly Layout[], facts: DeviceFacts): void {
  const { D, Dv } = problem;
  const { LANES, D_VECS, DV_VECS, PARTS = 1 } = numbers<'LANES' | 'D_VECS' | 'DV_VECS' | 'PARTS'>(variant);
  const isRight = 4 * LANES * D_VECS >= D && 4 * LANES * DV_VECS >= Dv && [1, 2, 4].includes(PARTS);
  const need = `4·LANES·D_VECS ≥ D = ${D}, 4·LANES·DV_VECS ≥ Dv = ${Dv}, PARTS 1, 2 or 4`;
  checkLanes(kernel, variant, isRight, need, isVec4(problem, outputs), facts);
}
