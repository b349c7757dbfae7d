/** Chooses the algorithm and its tile sizes: a pure function of the problem, the device's facts and what the caller forces. Nowhere else. */
import { AttentionError, quote } from './errors.ts';
import { contextBytes, skipsZeros } from './kernels/context.ts';
import { flashForwardBytes } from './kernels/flash_forward.ts';
import { numbers, type Variant } from './kernels/kernel.ts';
import { type Projection, projectBytes } from './kernels/project.ts';
import { scoresBytes } from './kernels/scores.ts';
import { softmaxBytes } from './kernels/softmax.ts';
import type { Problem } from './problem.ts';

/** What tile sizes depend on. */
export interface DeviceFacts {
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number; // bytes
  readonly isSoftware: boolean; // the device runs on the CPU
}

export function deviceFacts({ limits, adapterInfo }: GPUDevice): DeviceFacts {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = limits;
  return { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize, isSoftware: adapterInfo?.isFallbackAdapter ?? false };
}

export interface Choice {
  readonly variant: Variant;
  readonly reason: string;
}

/** Choices by the kernel's name. */
export type Tiles<Name extends string> = Readonly<Record<Name, Choice>>;
export type ExplicitKernel = 'scores' | 'softmax' | 'context';

const MAX_FUSED_HEAD = 256; // elements of a head that the fused kernels take

/** Fused wherever it can. @throws AttentionError 'unsupported' when fused was asked for and cannot be */
export function chooseAlgorithm(problem: Problem): { algorithm: 'explicit' | 'fused'; reason: string } {
  const { D, Dv, returnScores, returnWeights, algorithm } = problem;
  const obstacle =
    returnScores !== undefined || returnWeights
      ? `returnScores is ${quote(returnScores ?? 'weights')}, and the fused pass never has the N×M scores`
      : Math.max(D, Dv) > MAX_FUSED_HEAD
        ? `D is ${D} and Dv ${Dv}, and the fused pass takes ${MAX_FUSED_HEAD} at most`
        : undefined;
  if (algorithm === 'explicit') return { algorithm, reason: 'explicit was asked for' };
  if (obstacle === undefined) return { algorithm: 'fused', reason: algorithm === 'fused' ? 'fused was asked for' : 'auto takes fused' };
  if (algorithm === 'fused') throw new AttentionError('unsupported', `algorithm is "fused": ${obstacle}`);
  return { algorithm: 'explicit', reason: `auto takes explicit: ${obstacle}` };
}

/** Tiles of the three explicit kernels. `problem.variant` overrides single values, as `'scores.TILE_N': 16`. */
export function chooseExplicitTiles(problem: Problem, facts: DeviceFacts): Tiles<ExplicitKernel> {
  const { N, M, Dv, q, k } = problem;
  const scores = matmulTile(N, M);
  const context = matmulTile(N, Dv);
  const lanes = softmaxLanes(M, facts);
  const storage = { Q: q.dtype, K: k.dtype };
  const chosen = {
    scores: {
      variant: { ...storage, TILE_N: scores.size, TILE_M: scores.size, TILE_D: 16, ROWS: scores.blocks, COLS: scores.blocks },
      reason: scores.reason,
    },
    softmax: {
      variant: { LANES: lanes, ROWS: Math.max(1, 64 / lanes) },
      reason: `${lanes} invocations a row of ${M}${facts.isSoftware ? ', for a software device' : ''}`,
    },
    context: {
      variant: {
        ...{ ...storage, TILE_N: context.size, TILE_DV: context.size, TILE_M: 16, ROWS: context.blocks, COLS: context.blocks },
        ...{ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined },
      },
      reason: context.reason,
    },
  };
  return checkExplicitTiles(force(chosen, problem.variant), facts);
}

/** Tiles of the fused pass. */
export function chooseFusedTiles(problem: Problem, facts: DeviceFacts): Tiles<'flash_forward'> {
  const { N, Dv, q, k } = problem;
  const rows = N <= 4 ? 4 : N <= 16 ? 16 : 32;
  const chosen = {
    flash_forward: {
      variant: {
        ...{ Q: q.dtype, K: k.dtype, TILE_N: rows, TILE_M: 32, STEP: 16, BLOCKS: Math.ceil(Dv / 32) },
        ...{ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined },
      },
      reason: `${rows} queries a workgroup for ${N}`,
    },
  };
  const tiles = force(chosen, problem.variant);
  const { TILE_N, TILE_M, STEP, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'STEP' | 'BLOCKS'>(tiles.flash_forward.variant);
  if (TILE_N % 4 !== 0 || TILE_M % STEP !== 0 || STEP % 4 !== 0 || TILE_M * BLOCKS < Dv) {
    const got = describeVariant(tiles.flash_forward.variant);
    throw new AttentionError(
      'option',
      `variant: flash_forward has ${got}: need TILE_N and STEP multiples of 4, TILE_M of STEP, TILE_M·BLOCKS ≥ Dv = ${Dv}`,
    );
  }
  checkFits('flash_forward', (TILE_N * TILE_M) / 16, flashForwardBytes(tiles.flash_forward.variant), facts);
  return tiles;
}

/** Tiles of a linear projection. */
export function chooseProjectTiles({ rows, outWidth }: Projection, facts: DeviceFacts): Choice {
  const { size, blocks, reason } = matmulTile(rows, outWidth);
  const variant = { TILE_N: size, TILE_O: size, TILE_I: 16, ROWS: blocks, COLS: blocks };
  checkFits('project', (size / (4 * blocks)) ** 2, projectBytes(variant), facts);
  return { variant, reason };
}

/** Square tiles of a matrix product: large ones reuse each loaded value more, small ones waste less on small matrices. */
function matmulTile(rows: number, cols: number): { size: number; blocks: number; reason: string } {
  if (Math.min(rows, cols) <= 32) return { size: 16, blocks: 1, reason: `tiles of 16: ${rows}×${cols} is small` };
  return { size: 64, blocks: 2, reason: `tiles of 64: ${rows}×${cols} fills them` };
}

/**
 * Invocations that share a row: about 8 elements each, 4 at least, a workgroup's default limit at most. A software device walks over
 * long rows faster than it meets at barriers: with N = M = 512 and H = 8, softmax in SwiftShader took 4 lanes 130 ms less than 64 lanes
 * (24 Nov 2026); 16 lanes keep the sum of a long row accurate.
 */
function softmaxLanes(length: number, { isSoftware }: DeviceFacts): number {
  if (isSoftware) return length <= 1024 ? 4 : 16;
  return Math.min(256, Math.max(4, 2 ** Math.ceil(Math.log2(length / 8))));
}

/** Applies what the caller forces. A value of another algorithm's kernel is an error, like one that nobody knows. */
function force<Name extends string>(tiles: Tiles<Name>, forced: Problem['variant']): Tiles<Name> {
  const result: Record<string, Choice> = { ...tiles };
  for (const [key, value] of Object.entries(forced)) {
    const [kernel, name, rest] = key.split('.');
    const choice = result[kernel!];
    if (!choice || rest !== undefined || !Object.hasOwn(choice.variant, name!)) {
      const known = Object.entries<Choice>(tiles).flatMap(([stem, { variant }]) =>
        Object.keys(variant).map((constant) => `${stem}.${constant}`),
      );
      throw new AttentionError('option', `variant: unknown ${quote(key)}: known here are ${known.join(', ')}`);
    }
    const own = choice.variant[name!];
    const isRight =
      typeof value === 'number'
        ? typeof own === 'number' && Number.isSafeInteger(value) && value > 0
        : typeof value === 'boolean' && typeof own === 'boolean';
    if (!isRight) {
      const need =
        typeof own === 'number' ? 'an integer ≥ 1' : typeof own === 'boolean' ? 'true or false' : `${quote(own)}, the tensors' type`;
      throw new AttentionError('option', `variant: ${key} is ${quote(value)}: need ${need}`);
    }
    result[kernel!] = { variant: { ...choice.variant, [name!]: value }, reason: 'forced by variant' };
  }
  return result as Tiles<Name>;
}

function checkExplicitTiles(tiles: Tiles<ExplicitKernel>, facts: DeviceFacts): Tiles<ExplicitKernel> {
  for (const [name, cols, bytes] of [
    ['scores', 'TILE_M', scoresBytes],
    ['context', 'TILE_DV', contextBytes],
  ] as const) {
    const { variant } = tiles[name];
    const v = numbers<string>(variant);
    const sizeX = v[cols]! / (4 * v.COLS!);
    const sizeY = v.TILE_N! / (4 * v.ROWS!);
    const got = `variant: ${name} has ${describeVariant(variant)}`;
    if (v.ROWS! > 2 || v.COLS! > 2) throw new AttentionError('option', `${got}: ROWS and COLS are 1 or 2`);
    if (!Number.isInteger(sizeX) || !Number.isInteger(sizeY))
      throw new AttentionError('option', `${got}: need TILE_N a multiple of 4·ROWS and ${cols} of 4·COLS`);
    checkFits(name, sizeX * sizeY, bytes(variant), facts);
  }
  const { LANES, ROWS } = numbers<'LANES' | 'ROWS'>(tiles.softmax.variant);
  if (!Number.isInteger(Math.log2(LANES))) throw new AttentionError('option', `variant: softmax.LANES is ${LANES}: need a power of 2`);
  checkFits('softmax', LANES * ROWS, softmaxBytes(tiles.softmax.variant), facts);
  return tiles;
}

function checkFits(name: string, invocations: number, bytes: number, facts: DeviceFacts): void {
  if (invocations > facts.maxComputeInvocationsPerWorkgroup) {
    throw new AttentionError(
      'limit',
      `${name}: tiles need ${invocations} invocations a workgroup, the device has ${facts.maxComputeInvocationsPerWorkgroup}`,
    );
  }
  if (bytes > facts.maxComputeWorkgroupStorageSize) {
    throw new AttentionError(
      'limit',
      `${name}: tiles need ${bytes} bytes of workgroup memory, the device has ${facts.maxComputeWorkgroupStorageSize}`,
    );
  }
}

/** `TILE_N=64 TILE_M=64`: how labels and messages spell a variant. */
export const describeVariant = (variant: Variant): string =>
  Object.entries(variant)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
