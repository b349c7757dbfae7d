/** Answers in f64 for a few rows of a shape. They share no code with the library. */
import type { Attention, GpuTensor } from '../../../src/index.ts';
import type { Shape } from '../records.ts';
import { type Name, valueAt } from './shapes.ts';

/** Far above rounding, far below a wrong index. */
export const TOLERANCE = { f32: 1e-4, f16: 4e-3 };

interface Row {
  readonly h: number;
  readonly n: number;
}

/** Of the first and the last head: the first query, the last, and one between. */
const sampledRows = ({ H, N }: Shape): Row[] =>
  [...new Set([0, H - 1])].flatMap((h) => [...new Set([0, Math.floor(N / 3), N - 1])].map((n) => ({ h, n })));

/** A row of q or of the gradient. */
const rowOf = (name: Name, { N, D }: Shape, { h, n }: Row) =>
  Float64Array.from({ length: D }, (_, d) => valueAt(name, (h * N + n) * D + d));

const dot = (vector: Float64Array, name: Name, first: number): number =>
  vector.reduce((sum, value, d) => sum + value * valueAt(name, first + d), 0);

/** Σ weights[m] · row m of a tensor. */
function mix(weights: Float64Array, name: Name, first: number, D: number): Float64Array {
  const sum = new Float64Array(D);
  for (const [m, weight] of weights.entries()) for (let d = 0; d < D; d++) sum[d]! += weight * valueAt(name, first + m * D + d);
  return sum;
}

/** A row of out, and of the gradient of q. */
function answer(shape: Shape, row: Row, which: 'out' | 'dq'): Float64Array {
  const { H, Hk, N, M, D, causal } = shape;
  const count = causal ? row.n + M - N + 1 : M;
  const first = Math.floor((row.h * Hk) / H) * M * D;
  const query = rowOf('q', shape, row);
  const scores = Float64Array.from({ length: count }, (_, m) => dot(query, 'k', first + m * D) / Math.sqrt(D));
  const most = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  const weights = powers.map((power) => power / sum);
  if (which === 'out') return mix(weights, 'v', first, D);
  const gradient = rowOf('gradient', shape, row);
  const products = weights.map((_, m) => dot(gradient, 'v', first + m * D));
  const delta = products.reduce((total, product, m) => total + product * weights[m]!, 0);
  const factors = weights.map((weight, m) => (weight * (products[m]! - delta)) / Math.sqrt(D));
  return mix(factors, 'k', first, D);
}

/** Elements of a dense tensor, downloaded. */
async function slice(attention: Attention, tensor: GpuTensor, first: number, length: number): Promise<ArrayLike<number>> {
  const { buffer, dtype = 'f32', offset = 0 } = tensor;
  const bytes = dtype === 'f16' ? 2 : 4;
  return (await attention.download({ buffer, dtype, shape: [length], offset: offset + first * bytes })).data;
}

/** The greatest error relative to the largest value; infinite where there is a NaN, or nothing to compare. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const own = Math.abs(actual[i]! - expected[i]!);
    if (Number.isNaN(own)) return Number.POSITIVE_INFINITY;
    error = Math.max(error, own);
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  return largest > 0 ? error / largest : Number.POSITIVE_INFINITY;
}

/** The error of some rows of out, or of the gradient of q. */
export async function errorOf(attention: Attention, shape: Shape, tensor: GpuTensor, which: 'out' | 'dq' = 'out'): Promise<number> {
  const [actual, expected]: [number[], number[]] = [[], []];
  for (const row of sampledRows(shape)) {
    expected.push(...answer(shape, row, which));
    actual.push(...Array.from(await slice(attention, tensor, (row.h * shape.N + row.n) * shape.D, shape.D)));
  }
  return relativeError(actual, expected);
}

export interface Gradients {
  readonly q: GpuTensor;
  readonly k: GpuTensor;
  readonly gradient: GpuTensor;
  readonly dq: GpuTensor;
  readonly dk: GpuTensor;
  readonly dv: GpuTensor;
}

/** Σ of dv over the first key head's keys is Σ of the gradient over its queries; Σ q·dq is Σ k·dk. @returns the greater error, relative */
export async function sumsError(attention: Attention, { H, Hk, N, M, D }: Shape, tensors: Gradients): Promise<number> {
  const [queries, keys] = [(H / Hk) * N * D, M * D];
  const read = (name: keyof Gradients, length: number) => slice(attention, tensors[name], 0, length);
  const [q, gradient, dq] = await Promise.all([read('q', queries), read('gradient', queries), read('dq', queries)]);
  const [k, dk, dv] = await Promise.all([read('k', keys), read('dk', keys), read('dv', keys)]);
  const [sums, squares] = [new Float64Array(D), new Float64Array(D)];
  let [difference, size] = [0, 0];
  for (let i = 0; i < keys; i++) {
    sums[i % D]! += dv[i]!;
    difference -= k[i]! * dk[i]!;
  }
  for (let i = 0; i < queries; i++) {
    sums[i % D]! -= gradient[i]!;
    squares[i % D]! += gradient[i]! ** 2;
    difference += q[i]! * dq[i]!;
    size += Math.abs(q[i]! * dq[i]!);
  }
  const ofValues = sums.reduce((most, sum, d) => Math.max(most, Math.abs(sum) / Math.sqrt(squares[d]!)), 0);
  const error = Math.max(ofValues, Math.abs(difference) / size);
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}
