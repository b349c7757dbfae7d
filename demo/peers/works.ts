/** What every contestant computes: the works, their inputs, and the answers to check against. */
import { backward, scaledDotProductAttention } from '../../src/reference/index.ts';
import type { Pass, Work } from '../benchmark/work.ts';

/** A work and the set that it belongs to. */
export interface NamedWork extends Work {
  readonly set: string;
}

export interface Inputs {
  readonly q: Float32Array<ArrayBuffer>; // [1,H,N,D]
  readonly k: Float32Array<ArrayBuffer>; // [1,Hk,M,D]
  readonly v: Float32Array<ArrayBuffer>; // [1,Hk,M,D]
  readonly gradient: Float32Array<ArrayBuffer>; // of out, [1,H,N,D]
}

interface WorkSet extends Omit<Work, 'length' | 'queries' | 'pass'> {
  readonly pass?: Exclude<Pass, 'backward'>; // default: forward. `both`: as many queries as keys, a key head a head
  readonly lengths: readonly number[]; // keys
  readonly queries?: number; // default: as many as keys
}

const SETS: Readonly<Record<string, WorkSet>> = {
  'prefill-64': { lengths: [256, 512, 1024], heads: 8, keyHeads: 8, headSize: 64, isCausal: false },
  'prefill-128': { lengths: [256, 512], heads: 8, keyHeads: 8, headSize: 128, isCausal: false },
  causal: { lengths: [1024], heads: 8, keyHeads: 8, headSize: 64, isCausal: true },
  gradient: { pass: 'both', lengths: [256, 512], heads: 8, keyHeads: 8, headSize: 64, isCausal: false },
  decode: { lengths: [4096], queries: 1, heads: 8, keyHeads: 8, headSize: 64, isCausal: false },
  'decode-gqa': { lengths: [4096], queries: 1, heads: 32, keyHeads: 8, headSize: 64, isCausal: false },
};
export const SET_NAMES = Object.keys(SETS);

/** Forward up to this many queries the whole answer is checked, above it SAMPLED_ROWS of each head. */
const FULL_CHECK = 512;
const SAMPLED_ROWS = 16; // of each head, of the gradients' as well

/** @param lengths in place of the sets' own */
export function worksOf(sets: readonly string[], lengths?: readonly number[]): NamedWork[] {
  return sets.flatMap((set) => {
    const { lengths: own, queries, pass = 'forward', ...rest } = SETS[set]!;
    return (lengths ?? own).map((length) => ({ set, pass, length, queries: queries ?? length, ...rest }));
  });
}

/** The same in every run and for every contestant. Queries reach ±4, so that the weights differ and a wrong scale shows. */
export function inputsOf({ length, queries, heads, keyHeads, headSize }: Work): Inputs {
  const q = noise(1, heads * queries * headSize).map((value) => 4 * value);
  const [k, v] = [2, 3].map((seed) => noise(seed, keyHeads * length * headSize)) as [Inputs['k'], Inputs['v']];
  return { q, k, v, gradient: noise(4, heads * queries * headSize) };
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
export function rowsToCheck({ queries, pass }: Work): number[] {
  const count = queries <= FULL_CHECK && pass === 'forward' ? queries : SAMPLED_ROWS;
  return Array.from({ length: count }, (_, i) => Math.round((i * (queries - 1)) / Math.max(1, count - 1)));
}

/** @returns those rows of a [1,H,N,D] tensor, or of several one behind the other, as [H,rows,D] */
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

/** Tensors that a contestant's answer has: out; with the gradients also those of q, k and v. */
export const answersOf = ({ pass }: Work): number => (pass === 'forward' ? 1 : 4);

/** The f64 reference's answer to those rows, [H,rows,D], tensor by tensor. A causal query sees the keys up to its own. */
export function answerTo(work: Work, rows: readonly number[]): ArrayLike<number> {
  if (work.pass !== 'forward') return pickRows(gradientsTo(work), rows, work);
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

/** out and the gradients of q, k and v, one behind the other. */
function gradientsTo(work: Work): Float32Array {
  const { length, queries, heads, keyHeads, headSize, isCausal } = work;
  const inputs = inputsOf(work);
  const tensor = (data: Float32Array, of: number, rows: number) => ({ data, shape: [1, of, rows, headSize] });
  const [q, gradient] = [tensor(inputs.q, heads, queries), tensor(inputs.gradient, heads, queries)];
  const [k, v] = [tensor(inputs.k, keyHeads, length), tensor(inputs.v, keyHeads, length)];
  const options = { isCausal, causalOffset: length - queries };
  const { out, lse } = scaledDotProductAttention(q, k, v, { ...options, returnLse: true });
  const gradients = backward(gradient, { q, k, v, out, lse: lse! }, options);
  return join([out, gradients.q, gradients.k, gradients.v].map(({ data }) => Float32Array.from(data)));
}

/** One array behind the other. */
export function join(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
