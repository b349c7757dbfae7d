/** What is measured: shapes, and the same numbers for them in f32 and in f16. */
import { fromHalf, toHalf } from '../../../src/contract/half.ts';
import type { Attention, GpuTensor } from '../../../src/index.ts';
import type { Shape } from '../records.ts';
import { isTiny } from './say.ts';

export type Name = 'q' | 'k' | 'v' | 'gradient';

/** How many numbers there are, a prime: no two rows of a tensor begin alike. */
const PERIOD = 1_048_573;

/** Numbers in [−1, 1) that f16 has exactly, times a power of two. */
function numbers(scale: number): { f32: Float32Array<ArrayBuffer>; f16: Uint16Array<ArrayBuffer> } {
  let state = 1;
  const f16 = Uint16Array.from({ length: PERIOD }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return toHalf(scale * (state / 2 ** 31 - 1));
  });
  return { f16, f32: Float32Array.from(f16, fromHalf) };
}

const plain = numbers(1);
/** Where a tensor begins among the numbers. Queries reach ±4, so that the weights differ. */
const SOURCES = {
  q: { start: 0, values: numbers(4) },
  k: { start: 331_777, values: plain },
  v: { start: 700_001, values: plain },
  gradient: { start: 911_003, values: plain },
} as const;

/** Several sets of keys together are larger than any cache. */
const CACHE_BYTES = isTiny ? 2 ** 20 : 3 * 2 ** 27;
const MOST_SETS = 16;

export const shapeOf = (name: Name, { H, Hk, N, M, D }: Shape): number[] =>
  name === 'q' || name === 'gradient' ? [1, H, N, D] : [1, Hk, M, D];

/** The element of a tensor's first set. */
export function valueAt(name: Name, index: number): number {
  const { start, values } = SOURCES[name];
  return values.f32[(start + index) % PERIOD]!;
}

/** @param set another one has other numbers */
export function upload(attention: Attention, name: Name, shape: Shape, set = 0): GpuTensor {
  const { start, values } = SOURCES[name];
  const dims = shapeOf(name, shape);
  const length = dims.reduce((product, size) => product * size, 1);
  const first = (start + 7919 * set) % PERIOD;
  if (shape.dtype === 'f16') return attention.upload(repeat(values.f16, new Uint16Array(length), first), dims, 'f16');
  return attention.upload(repeat(values.f32, new Float32Array(length), first), dims, 'f32');
}

/** Fills an array from a place on, and again from the beginning. */
function repeat<Kind extends Float32Array | Uint16Array>(values: Kind, data: Kind, first: number): Kind {
  let from = first;
  for (let at = 0; at < data.length; from = 0) {
    const part = values.subarray(from, Math.min(PERIOD, from + data.length - at));
    data.set(part, at);
    at += part.length;
  }
  return data;
}

export const square = (dtype: Shape['dtype'], D: number, N: number, causal = false): Shape => {
  const heads = isTiny ? 2 : 16;
  return { dtype, H: heads, Hk: heads, N, M: N, D, causal };
};

export const decode = (dtype: Shape['dtype'], D: number, M: number): Shape => ({ dtype, H: 32, Hk: 8, N: 1, M, D, causal: false });

/** Options of a shape: a causal one is aligned so that the last query sees every key. */
export const bandOf = ({ causal }: Shape) => (causal ? { isCausal: true, causalOffset: 'lower-right' as const } : {});

/** Scores that somebody sees. */
const seen = ({ N, M, causal }: Shape): number => (causal ? N * (M - N) + (N * (N + 1)) / 2 : N * M);

/** Multiplications and additions of so many matrix products: 2 forward, 5 backward, 7 both. */
export const flopsOf = (shape: Shape, products: number): number => 2 * products * shape.H * seen(shape) * shape.D;

/** Bytes of q, k, v and out, each once. */
export const bytesOf = ({ dtype, H, Hk, N, M, D }: Shape): number => (dtype === 'f32' ? 4 : 2) * 2 * D * (H * N + Hk * M);

/** How many sets of inputs a shape needs so that none stays in a cache. */
export const setsOf = (shape: Shape): number => Math.max(1, Math.min(MOST_SETS, Math.ceil(CACHE_BYTES / bytesOf(shape))));
