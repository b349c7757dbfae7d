/** Chooses the tiles of the explicit kernels: a pure function of the problem, the device's facts and what the caller forces. Loaded when first needed. */
import { AttentionError } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { describeVariant, numbers } from '../gpu/kernel.ts';
import { context, contextBytes, skipsZeros } from '../kernels/context.ts';
import { scores, scoresBytes } from '../kernels/scores.ts';
import { softmax, softmaxBytes } from '../kernels/softmax.ts';
import type { ExplicitKernel, Variants } from '../kernels/variants.ts';
import { type Choice, checkFits, checkKernels, force, storageOf, type Tiles } from './choice.ts';
import type { BasicFacts } from './facts.ts';

/** The most tiles of keys that a workgroup of `scores` computes on a software device. There, zeroing a workgroup's memory takes as long as a tile. */
const MOST_TILES = 8;

const KERNELS: readonly ExplicitKernel[] = ['scores', 'softmax', 'context'];

/** Tiles of the three explicit kernels. `problem.variant` overrides single values, as `{ scores: { TILE_N: 16 } }`. */
export function chooseExplicitTiles(problem: Problem, facts: BasicFacts): Tiles<ExplicitKernel> {
  const { N, M } = problem;
  checkKernels(KERNELS, KERNELS, problem);
  const own = N <= FEW_ROWS ? fewRowsTiles(problem, facts) : manyRowsTiles(problem, facts);
  const storage = storageOf(problem);
  const flags = { SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined };
  const tiles = {
    scores: force(scores, { ...own.scores, variant: { ...storage, ...own.scores.variant } }, problem),
    softmax: force(softmax, chooseRowTiles(M, facts, N), problem),
    context: force(context, { ...own.context, variant: { ...storage, ...own.context.variant, ...flags } }, problem),
  };
  checkExplicitTiles(tiles, facts);
  return tiles;
}

function checkExplicitTiles(tiles: Tiles<ExplicitKernel>, facts: BasicFacts): void {
  for (const [name, cols, bytes] of [
    ['scores', 'TILE_M', scoresBytes],
    ['context', 'TILE_DV', contextBytes],
  ] as const) {
    const { variant } = tiles[name];
    const v = numbers<string>(variant);
    const sizeX = v[cols]! / (4 * v.COLS!);
    const sizeY = v.TILE_N! / (4 * v.ROWS!);
    const got = `variant: ${name} has ${describeVariant(variant)}`;
    if (![1, 2, 4].includes(v.ROWS!) || ![1, 2, 4].includes(v.COLS!))
      throw new AttentionError('option', `${got}: ROWS and COLS are 1, 2 or 4`);
    if (!Number.isInteger(sizeX) || !Number.isInteger(sizeY))
      throw new AttentionError('option', `${got}: need TILE_N a multiple of 4·ROWS and ${cols} of 4·COLS`);
    const slots = v.SLOTS ?? 1;
    if (slots > 64 || (slots > 1 && !variant.DIRECT)) throw new AttentionError('option', `${got}: need SLOTS 1, or with DIRECT at most 64`);
    checkFits(name, sizeX * sizeY * slots, bytes(variant), facts);
  }
  const { LANES, ROWS } = numbers<'LANES' | 'ROWS'>(tiles.softmax.variant);
  if (!Number.isInteger(Math.log2(LANES))) throw new AttentionError('option', `variant: softmax.LANES is ${LANES}: need a power of 2`);
  checkFits('softmax', LANES * ROWS, softmaxBytes(tiles.softmax.variant), facts);
}

/** What does not follow from the types and the options. */
interface OwnTiles {
  readonly scores: Choice<Omit<Variants['scores'], 'Q' | 'K'>>;
  readonly context: Choice<Omit<Variants['context'], 'Q' | 'K' | 'SKIP_ZEROS' | 'DROPOUT'>>;
}

function manyRowsTiles({ N, M, Dv }: Problem, facts: BasicFacts): OwnTiles {
  const scores = matmulTile(N, M, facts);
  const context = matmulTile(N, Dv, facts);
  const tiles = facts.isSoftware ? Math.min(MOST_TILES, Math.ceil(Math.max(M, 1) / scores.size)) : 1;
  const alone = { GROUPED: false, DIRECT: false };
  return {
    scores: {
      variant: {
        ...{ TILE_N: scores.size, TILE_M: scores.size, TILE_D: 16, ROWS: scores.rows, COLS: scores.cols },
        ...{ TILES: tiles, ...alone },
      },
      reason: scores.reason,
    },
    context: {
      variant: { TILE_N: context.size, TILE_DV: context.size, TILE_M: 16, ROWS: context.rows, COLS: context.cols, ...alone, SLOTS: 1 },
      reason: context.reason,
    },
  };
}

/** The most queries that take tiles for few rows, and the most rows of such a tile. */
const FEW_ROWS = 16;

/**
 * Tiles with few rows for few queries. The queries of all heads that read one key head share a tile, and each key and value that the tile loads.
 * A device on the CPU loads keys and values where it needs them, into 4 × 2 blocks. For one query of 32 heads on 8 key heads, M 512 and D 64, SwiftShader
 * takes 2.4 ms for scores and 1.8 ms for context, in place of 57 and 40 ms with tiles of 16 × 16. lavapipe takes 0.5 and 0.35 ms in place of 12 and 14 ms
 * (30 Nov 2026).
 * On a GPU a few warps share the elements that `scores` loads. In `context` the warps take different keys: else one warp would walk over all keys.
 */
function fewRowsTiles({ N, H, Hk, Dv }: Problem, facts: BasicFacts): OwnTiles {
  const rows = (N * H) / Math.max(1, Hk) <= 4 ? 4 : FEW_ROWS; // two heights, so that few variants are compiled
  const reason = `${rows} rows a tile for heads of ${N}${facts.isSoftware ? ', for a software device' : ''}`;
  const shape = { TILE_N: rows, GROUPED: true };
  if (facts.isSoftware) {
    const blocks = { ...shape, ROWS: rows / 4, COLS: 2, DIRECT: true };
    const width = Dv <= 16 ? 16 : 64;
    return {
      scores: { variant: { ...blocks, TILE_M: 64, TILE_D: 16, TILES: 2 }, reason },
      context: { variant: { ...blocks, TILE_DV: width, TILE_M: 64, SLOTS: 1 }, reason },
    };
  }
  const blocks = { ...shape, ROWS: 1, COLS: 1 };
  const slots = Math.min(256, facts.maxComputeInvocationsPerWorkgroup) / ((32 / 4) * (rows / 4));
  return {
    scores: { variant: { ...blocks, TILE_M: 128, TILE_D: 8, TILES: 1, DIRECT: false }, reason },
    context: { variant: { ...blocks, TILE_DV: 32, TILE_M: 4, DIRECT: true, SLOTS: slots }, reason },
  };
}

/** Invocations a row where there is one query. They do not depend on the number of keys: a decoder that returns scores compiles nothing as its keys grow. */
const LANES_OF_ONE_QUERY = { software: 16, gpu: 64 };

/** Invocations a row and rows a workgroup, for a kernel whose invocations share rows. @param length elements of a row @param count rows that there are */
export function chooseRowTiles(length: number, facts: BasicFacts, count = Number.POSITIVE_INFINITY): Choice<Variants['softmax']> {
  const lanes = count === 1 ? LANES_OF_ONE_QUERY[facts.isSoftware ? 'software' : 'gpu'] : rowLanes(length, facts);
  const reason = `${lanes} invocations a row of ${length}${facts.isSoftware ? ', for a software device' : ''}`;
  return { variant: { LANES: lanes, ROWS: count === 1 ? 1 : Math.max(1, 64 / lanes) }, reason };
}

/**
 * Square tiles of a matrix product, and blocks of 4 × 4 sums an invocation. Large ones reuse each loaded value more. Small tiles waste less on small
 * matrices.
 * A device on the CPU loads slowly, and keeps sums in memory in any case. With 4 × 2 blocks SwiftShader takes 13% less time than with 2 × 2
 * (N = M = 512, 24 Nov 2026), with 4 × 4 as long. Intel's compiler spills 44 to 116 registers with two blocks and more, and none with one (Mesa 26.1).
 */
export function matmulTile(height: number, width: number, facts: BasicFacts): { size: number; rows: number; cols: number; reason: string } {
  const [size, rows, cols] =
    Math.min(height, width) <= 32 ? [16, 1, 1] : facts.isSoftware ? [64, 4, 2] : facts.vendor === 'intel' ? [32, 1, 1] : [64, 2, 2];
  return { size, rows, cols, reason: `tiles of ${size} for ${height}×${width}, ${rows}×${cols} blocks an invocation` };
}

/**
 * Invocations that share a row. Each has about 8 elements; they are at least 4, and at most the default limit of a workgroup.
 * On a software device a barrier costs more than a long loop. With N = M = 512 and H = 8, softmax in SwiftShader took 130 ms less with 4 invocations a row
 * than with 64 (24 Nov 2026). Long rows have 16, which keep the sum of a row accurate.
 */
function rowLanes(length: number, facts: BasicFacts): number {
  if (facts.isSoftware) return length <= 1024 ? 4 : 16;
  return Math.min(facts.maxComputeInvocationsPerWorkgroup, 256, Math.max(4, 2 ** Math.ceil(Math.log2(length / 8))));
}
