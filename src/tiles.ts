/** Chooses the algorithm and its tile sizes: a pure function of the problem, the device's facts and what the caller forces. Nowhere else. */
import { AttentionError, quote } from './errors.ts';
import { skipsZeros } from './kernels/context.ts';
import type { Variant } from './kernels/kernel.ts';
import type { Problem } from './problem.ts';
import { checkExplicitTiles, force } from './tile-checks.ts';

/** What tile sizes depend on. */
export interface DeviceFacts {
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number; // bytes
  readonly isSoftware: boolean; // the device runs on the CPU
  readonly hasQuads: boolean; // subgroups, with quads in the order of local_invocation_index
  readonly vendor: string; // as the adapter spells it, '' where it does not tell
  readonly architecture: string;
  readonly subgroupSizes: readonly [number, number]; // least and largest
  readonly canFixSubgroupSize: boolean; // feature subgroup-size-control
}

export function deviceFacts({ limits, features, adapterInfo }: GPUDevice, hasQuads: boolean): DeviceFacts {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = limits;
  return {
    maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupStorageSize,
    isSoftware: adapterInfo?.isFallbackAdapter ?? false,
    hasQuads,
    vendor: adapterInfo?.vendor ?? '',
    architecture: adapterInfo?.architecture ?? '',
    subgroupSizes: [adapterInfo?.subgroupMinSize ?? 4, adapterInfo?.subgroupMaxSize ?? 128],
    canFixSubgroupSize: (features as ReadonlySet<string>).has('subgroup-size-control'),
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
  const { D, Dv, returnScores, returnWeights, algorithm, forcedBy } = problem;
  const obstacle =
    returnScores !== undefined || returnWeights
      ? `returnScores is ${quote(returnScores ?? 'weights')}, and the fused pass never has the N×M scores`
      : Math.max(D, Dv) > MAX_FUSED_HEAD
        ? `D is ${D} and Dv ${Dv}, and the fused pass takes ${MAX_FUSED_HEAD} at most`
        : undefined;
  const why = forcedBy === 'tuning' ? 'the fastest that tune measured' : `${algorithm} was asked for`;
  if (algorithm === 'explicit') return { algorithm, reason: why };
  if (obstacle === undefined) return { algorithm: 'fused', reason: algorithm === 'fused' ? why : 'auto takes fused' };
  if (algorithm === 'fused') throw new AttentionError('unsupported', `algorithm is "fused": ${obstacle}`);
  return { algorithm: 'explicit', reason: `auto takes explicit: ${obstacle}` };
}

/** Of keys, a workgroup of scores on a software device, where zeroing its memory takes as long as a tile. */
const MOST_TILES = 8;

/** Tiles of the three explicit kernels. `problem.variant` overrides single values, as `'scores.TILE_N': 16`. */
export function chooseExplicitTiles(problem: Problem, facts: DeviceFacts): Tiles<ExplicitKernel> {
  const { N, M, Dv, q, k } = problem;
  const scores = matmulTile(N, M, facts);
  const context = matmulTile(N, Dv, facts);
  const tiles = facts.isSoftware ? Math.min(MOST_TILES, Math.ceil(Math.max(M, 1) / scores.size)) : 1;
  const storage = { Q: q.dtype, K: k.dtype };
  const chosen = {
    scores: {
      variant: {
        ...storage,
        ...{ TILE_N: scores.size, TILE_M: scores.size, TILE_D: 16, ROWS: scores.rows, COLS: scores.cols },
        TILES: tiles,
      },
      reason: scores.reason,
    },
    softmax: chooseRowTiles(M, facts),
    context: {
      variant: {
        ...{ ...storage, TILE_N: context.size, TILE_DV: context.size, TILE_M: 16, ROWS: context.rows, COLS: context.cols },
        ...{ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined },
      },
      reason: context.reason,
    },
  };
  return checkExplicitTiles(force(chosen, problem), facts);
}

/** Lanes and rows a workgroup, for a kernel whose invocations share rows of `length`. */
export function chooseRowTiles(length: number, facts: DeviceFacts): Choice {
  const lanes = rowLanes(length, facts);
  const reason = `${lanes} invocations a row of ${length}${facts.isSoftware ? ', for a software device' : ''}`;
  return { variant: { LANES: lanes, ROWS: Math.max(1, 64 / lanes) }, reason };
}

/**
 * Square tiles of a matrix product, and blocks of 4 × 4 sums an invocation: large ones reuse each loaded value more, small tiles waste less on small
 * matrices. A device on the CPU loads slowly, and keeps sums in memory in any case: with 4 × 2 blocks SwiftShader takes 13% less time than with 2 × 2
 * (N = M = 512, 24 Nov 2026), with 4 × 4 as long. Intel's compiler spills 44 to 116 registers with two blocks and more, none with one (Mesa 26.1).
 */
export function matmulTile(
  height: number,
  width: number,
  facts: DeviceFacts,
): { size: number; rows: number; cols: number; reason: string } {
  const [size, rows, cols] =
    Math.min(height, width) <= 32 ? [16, 1, 1] : facts.isSoftware ? [64, 4, 2] : facts.vendor === 'intel' ? [32, 1, 1] : [64, 2, 2];
  return { size, rows, cols, reason: `tiles of ${size} for ${height}×${width}, ${rows}×${cols} blocks an invocation` };
}

/**
 * Invocations that share a row: about 8 elements each, 4 at least, a workgroup's default limit at most. A software device walks over
 * long rows faster than it meets at barriers: with N = M = 512 and H = 8, softmax in SwiftShader took 4 lanes 130 ms less than 64 lanes
 * (24 Nov 2026); 16 lanes keep the sum of a long row accurate.
 */
function rowLanes(length: number, facts: DeviceFacts): number {
  if (facts.isSoftware) return length <= 1024 ? 4 : 16;
  return Math.min(facts.maxComputeInvocationsPerWorkgroup, 256, Math.max(4, 2 ** Math.ceil(Math.log2(length / 8))));
}
