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
  readonly hasQuads: boolean; // subgroups, with quads in the order of local_invocation_index
}

export function deviceFacts({ limits, adapterInfo }: GPUDevice, hasQuads: boolean): DeviceFacts {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = limits;
  return {
    maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupStorageSize,
    isSoftware: adapterInfo?.isFallbackAdapter ?? false,
    hasQuads,
  };
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

export type FusedKernel = 'flash_forward' | 'flash_forward_quad';

/** The fused pass: its kernel and the kernel's tiles. `problem.variant` forces the kernel whose name it has. */
export function chooseFusedTiles(problem: Problem, facts: DeviceFacts): { kernel: FusedKernel } & Choice {
  const forced = Object.keys(problem.variant)[0]?.split('.')[0];
  const kernel =
    forced === 'flash_forward' || forced === 'flash_forward_quad'
      ? forced
      : facts.hasQuads && !facts.isSoftware
        ? 'flash_forward_quad'
        : 'flash_forward';
  const tiles = kernel === 'flash_forward' ? baselineTiles(problem) : quadTiles(problem, facts);
  const choice = force({ [kernel]: tiles }, problem.variant)[kernel]!;
  if (kernel === 'flash_forward') checkBaselineTiles(choice.variant, problem, facts);
  else checkQuadTiles(choice.variant, problem, facts);
  return { kernel, ...choice };
}

const fusedFlags = (problem: Problem) => ({ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined });

function baselineTiles(problem: Problem): Choice {
  const { N, Dv, q, k } = problem;
  const rows = N <= 4 ? 4 : N <= 16 ? 16 : 32;
  const variant = { Q: q.dtype, K: k.dtype, TILE_N: rows, TILE_M: 32, STEP: 16, BLOCKS: Math.ceil(Dv / 32), ...fusedFlags(problem) };
  return { variant, reason: `${rows} queries a workgroup for ${N}` };
}

/** Fewer rows a quad for larger heads: a lane holds a quarter of each row's q and out in registers. */
function quadTiles(problem: Problem, { isSoftware }: DeviceFacts): Choice {
  const { D, Dv, q, k } = problem;
  const rows = Math.max(D, Dv) <= 64 ? 4 : Math.max(D, Dv) <= 128 ? 2 : 1;
  const keys = isSoftware ? 4 : 1;
  const variant = {
    Q: q.dtype,
    K: k.dtype,
    SIZE: 64,
    ROWS: rows,
    KEYS: keys,
    D_VECS: Math.ceil(D / 16),
    DV_VECS: Math.ceil(Dv / 16),
    ...fusedFlags(problem),
  };
  return { variant, reason: `subgroups; ${rows} queries a quad for heads of ${Math.max(D, Dv)}` };
}

function checkBaselineTiles(variant: Variant, { Dv }: Problem, facts: DeviceFacts): void {
  const { TILE_N, TILE_M, STEP, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'STEP' | 'BLOCKS'>(variant);
  if (TILE_N % 4 !== 0 || TILE_M % STEP !== 0 || STEP % 4 !== 0 || TILE_M * BLOCKS < Dv) {
    const need = `TILE_N and STEP multiples of 4, TILE_M of STEP, TILE_M·BLOCKS ≥ Dv = ${Dv}`;
    throw new AttentionError('option', `variant: flash_forward has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_forward', (TILE_N * TILE_M) / 16, flashForwardBytes(variant), facts);
}

function checkQuadTiles(variant: Variant, { D, Dv }: Problem, facts: DeviceFacts): void {
  if (!facts.hasQuads)
    throw new AttentionError(
      'unsupported',
      'variant: flash_forward_quad needs the feature subgroups with ordered quads, which this device lacks',
    );
  const { SIZE, KEYS, D_VECS, DV_VECS } = numbers<'SIZE' | 'KEYS' | 'D_VECS' | 'DV_VECS'>(variant);
  if (SIZE % 4 !== 0 || ![1, 2, 4].includes(KEYS) || 16 * D_VECS < D || 16 * DV_VECS < Dv) {
    const need = `SIZE a multiple of 4, KEYS 1, 2 or 4, 16·D_VECS ≥ D = ${D}, 16·DV_VECS ≥ Dv = ${Dv}`;
    throw new AttentionError('option', `variant: flash_forward_quad has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_forward_quad', SIZE, 0, facts);
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
function softmaxLanes(length: number, facts: DeviceFacts): number {
  if (facts.isSoftware) return length <= 1024 ? 4 : 16;
  return Math.min(facts.maxComputeInvocationsPerWorkgroup, 256, Math.max(4, 2 ** Math.ceil(Math.log2(length / 8))));
}

/** Applies what the caller forces. A value of another algorithm's kernel is an error, like one that nobody knows. */
function force<Name extends string>(tiles: Tiles<Name>, forced: Problem['variant']): Tiles<Name> {
  const result: Record<string, Choice> = { ...tiles };
  for (const [key, value] of Object.entries(forced)) {
    const [kernel, name, rest] = key.split('.');
    const choice = Object.hasOwn(result, kernel!) ? result[kernel!] : undefined;
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
