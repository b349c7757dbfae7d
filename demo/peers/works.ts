/** What every contestant computes: the works, their inputs, and the answers to check against. */
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import type { Work } from '../benchmark/work.ts';

/** A work and the set that it belongs to. */
export interface NamedWork extends Work {
  readonly set: string;
}

export interface Inputs {
  readonly q: Float32Array<ArrayBuffer>; // [1,H,N,D]
  readonly k: Float32Array<ArrayBuffer>; // [1,Hk,M,D]
  readonly v: Float32Array<ArrayBuffer>; // [1,Hk,M,D]
}

interface WorkSet extends Omit<Work, 'length' | 'queries'> {
  readonly lengths: readonly number[]; // keys
  readonly queries?: number; // default: as many as keys
}

const SETS: Readonly<Record<string, WorkSet>> = {
  'prefill-64': { lengths: [256, 512, 1024], heads: 8, keyHeads: 8, headSize: 64, isCausal: false },
  'prefill-128': { lengths: [256, 512], heads: 8, keyHeads: 8, headSize: 128, isCausal: false },
  causal: { lengths: [1024], heads: 8, keyHeads: 8, headSize: 64, isCausal: true },
  decode: { lengths: [4096], queries: 1, heads: 8, keyHeads: 8, headSize: 64, isCausal: false },
  'decode-gqa': { lengths: [4096], queries: 1, heads: 32, keyHeads: 8, headSize: 64, isCausal: false },
};
export const SET_NAMES = Object.keys(SETS);

/** Up to this many queries the whole answer is checked, above it SAMPLED_ROWS of each head. */
const FULL_CHECK = 512;
const SAMPLED_ROWS = 16;

/** @param lengths in place of the sets' own */
export function worksOf(sets: readonly string[], lengths?: readonly number[]): NamedWork[] {
  return sets.flatMap((set) => {
    const { lengths: own, queries, ...rest } = SETS[set]!;
    return (lengths ?? own).map((length) => ({ set, length, queries: queries ?? length, ...rest }));
  });
}

/** The same in every run and for every contestant. Queries reach ±4, so that the weights differ and a wrong scale shows. */
export function inputsOf({ length, queries, heads, keyHeads, headSize }: Work): Inputs {
  const q = noise(1, heads * queries * headSize).map((value) => 4 * value);
  const [k, v] = [2, 3].map((seed) => noise(seed, keyHeads * length * headSize)) as [Inputs['k'], Inputs['v']];
  return { q, k, v };
}

/** Numbers in [−1, 1). The generator is Numerical Recipes' linear congruential one. */
function noise(seed: number, length: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** The queries whose answers are checked. */
export function rowsToCheck({ queries }: Work): number[] {
  const count = queries <= FULL_CHECK ? queries : SAMPLED_ROWS;
  return Array.from({ length: count }, (_, i) => Math.round((i * (queries - 1)) / Math.max(1, count - 1)));
}

/** @returns those rows of a [1,H,N,D] tensor, as [H,rows,D] */
export function pickRows(data: Float32Array, rows: readonly number[], { queries, headSize }: Work): Float32Array {
  const heads = data.length / (queries * headSize);
  const picked = new Float32Array(heads * rows.length * headSize);
  for (let h = 0; h < heads; h++)
    for (const [i, n] of rows.entries()) {
      const from = (h * queries + n) * headSize;
      picked.set(data.subarray(from, from + headSize), (h * rows.length + i) * headSize);
    }
  return picked;
}

/** The f64 reference's answer to those rows, [H,rows,D]. A causal query sees the keys up to its own. */
export function answerTo(work: Work, rows: readonly number[]): ArrayLike<number> {
  const { length, queries, heads, keyHeads, headSize, isCausal } = work;
  const { q, k, v } = inputsOf(work);
  const seen = Uint8Array.from({ length: rows.length * length }, (_, i) => {
    const n = rows[Math.floor(i / length)]!;
    return i % length <= n + length - queries ? 1 : 0;
  });
  const { out } = scaledDotProductAttention(
    { data: pickRows(q, rows, work), shape: [1, heads, rows.length, headSize] },
    { data: k, shape: [1, keyHeads, length, headSize] },
    { data: v, shape: [1, keyHeads, length, headSize] },
    isCausal ? { mask: { data: seen, shape: [rows.length, length] } } : {},
  );
  return out.data;
}
