/** Tiles of flash_decode: few queries over many keys. Part of fused.ts. */
import { isBanded, isVec4, type Problem } from '../contract/problem.ts';
import { scoreFlags } from '../kernels/band.ts';
import { rowsOf } from '../kernels/flash_decode.ts';
import type { Variants } from '../kernels/variants.ts';
import { type Choice, forcedOf, storageOf } from './choice.ts';
import type { DeviceFacts } from './facts.ts';

const MOST_ROWS = 16; // the most rows a key head
const LEAST_KEYS = 128;
/** Workgroups to aim at, and the least keys a split. A software device has only as many cores as the CPU. */
const SOFTWARE = { groups: 8, keys: 256 };
const GPU = { groups: 512, keys: 128 };

/**
 * Whether flash_decode is the kernel for a problem. On a software device with subgroups flash_forward_row is the other candidate: it shares keys between the
 * queries of a head already. CPU time of flash_forward_row and of flash_decode with 4096 keys, D 64 and 8 key heads (SwiftShader, Chrome 143, 24 Nov 2026):
 *
 *     one query of 8 heads 20 and 15 ms     one query of 32 heads 80 and 28 ms     four queries of 8 heads 21 and 30 ms
 */
export function isDecode(problem: Problem, { isSoftware, hasQuads }: DeviceFacts): boolean {
  if (rowsOf(problem) > MOST_ROWS || (problem.M < LEAST_KEYS && problem.N > 1)) return false;
  return !(isSoftware && hasQuads) || problem.N <= 2;
}

export function decodeTiles(problem: Problem, facts: DeviceFacts): Choice<Variants['flash_decode']> {
  const { B, Hk, M } = problem;
  const shape = facts.isSoftware ? softwareShape(problem, facts) : gpuShape(problem, facts);
  const goal = facts.isSoftware ? SOFTWARE : GPU;
  const groups = B * Hk * Math.ceil(rowsOf(problem) / shape.ROWS);
  const splits = Math.max(1, Math.min(Math.ceil(goal.groups / groups), Math.floor(M / goal.keys)));
  const forced = forcedOf('flash_decode', problem);
  const storage = storageOf(problem);
  const flags = decodeFlags(problem, { ...shape, ...forced });
  const O = (forced.SPLITS ?? splits) > 1 ? 'f32' : storage.Q; // flash_merge reads parts of f32
  const variant = { SPLITS: splits, ...storage, VEC4: isVec4(problem), ...shape, ...flags, O } as const;
  const rows = `${rowsOf(problem)} rows a key head and ${M} keys`;
  const merged = splits > 1 ? `, in ${splits} splits` : '';
  return { variant, reason: `${rows}${merged}${facts.isSoftware ? ', for a software device' : ''}` };
}

type Shape = Readonly<Record<'LANES' | 'KEYS' | 'COLS' | 'D_BLOCKS' | 'DV_BLOCKS', number>>;

/**
 * The flags of flash_decode for a problem. None depends on the number of keys, so that no step of a decoder compiles a kernel that the step before did not
 * have.
 */
export function decodeFlags(problem: Problem, { LANES, KEYS, COLS, D_BLOCKS, DV_BLOCKS }: Shape) {
  const { dropout, D, Dv, N } = problem;
  // The kernel's loop goes from the first to the last key that its rows see. One query sees all of them, unless dropout rounds the first key down.
  const isBandOfRows = isBanded(problem) && (N > 1 || dropout !== undefined);
  return {
    ...scoreFlags(problem),
    BAND: isBandOfRows || LANES > 1 || KEYS > 1,
    DROPOUT: dropout !== undefined,
    D_TAIL: D < 4 * COLS * LANES * D_BLOCKS,
    DV_TAIL: Dv < 4 * COLS * LANES * DV_BLOCKS,
  };
}

const powerOf2 = (value: number): number => 2 ** Math.max(0, Math.ceil(Math.log2(value)));

/** Shapes for `tune` to try: each number of rows up to the problem's, and on a GPU with each number of lanes that can share a key. */
export function decodeShapes(problem: Problem, facts: DeviceFacts): Omit<Shape, 'SIZE'>[] {
  const rows = [8, 4, 2, 1].filter((count) => count <= powerOf2(rowsOf(problem)));
  if (facts.isSoftware) return rows.map((ROWS) => ({ ...softwareShape(problem, facts), ROWS }));
  return rows.flatMap((ROWS) => GPU_LANES.map((LANES) => sharedShape(problem, ROWS, LANES)));
}

/** One invocation takes a key and holds whole rows. There is no barrier, and the loads are ones that compilers for the CPU make fast. */
function softwareShape(problem: Problem, { subgroupSizes }: DeviceFacts) {
  const { D, Dv } = problem;
  const [dBlocks, dvBlocks] = [powerOf2(D / 16), powerOf2(Dv / 16)];
  const rows = Math.min(powerOf2(rowsOf(problem)), 8, 32 / Math.max(dBlocks, dvBlocks));
  return {
    ...{ SIZE: Math.max(4, Math.min(subgroupSizes[1], 16)), LANES: 1, ROWS: rows, KEYS: 1, COLS: 4 },
    ...{ D_BLOCKS: dBlocks, DV_BLOCKS: dvBlocks },
  };
}

/**
 * Numbers that a lane holds: its parts of ROWS queries, of ROWS rows of out and of KEYS keys, and the dot products. Which compilers spill registers
 * (Mesa 26.1, f32, D 64 to 256, 24 Nov 2026): up to 72 numbers none for AMD, NVIDIA and Apple; with 112 those for Apple; from 40 on those for Intel.
 */
const held = (rows: number, width: number, lanes: number): number => ((2 * rows + KEYS) * width) / lanes + KEYS * rows;
const MOST_HELD = { intel: 32, others: 72 };
const KEYS = 4;
const GPU_LANES = [8, 16, 32];

/** Neighbouring lanes load neighbouring elements of a key, four keys at once. As many rows as lanes can hold, over as few lanes as possible. */
function gpuShape(problem: Problem, { vendor }: DeviceFacts) {
  const width = Math.max(problem.D, problem.Dv);
  const most = vendor === 'intel' ? MOST_HELD.intel : MOST_HELD.others;
  const wanted = [4, 2, 1].filter((rows) => rows <= powerOf2(rowsOf(problem)));
  const shapes = wanted.flatMap((rows) => GPU_LANES.map((lanes) => ({ ROWS: rows, LANES: lanes })));
  const { ROWS, LANES } = shapes.find((shape) => held(shape.ROWS, width, shape.LANES) <= most) ?? shapes.at(-1)!;
  return { SIZE: 64, ...sharedShape(problem, ROWS, LANES) };
}

/** The shape in which LANES neighbouring invocations share a key. */
function sharedShape({ D, Dv }: Problem, ROWS: number, LANES: number) {
  const cols = Math.min(4, powerOf2(Math.max(D, Dv) / (4 * LANES)));
  const blocks = (size: number) => powerOf2(size / (4 * LANES * cols));
  return { LANES, ROWS, KEYS, COLS: cols, D_BLOCKS: blocks(D), DV_BLOCKS: blocks(Dv) };
}
