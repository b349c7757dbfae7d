/** The numbers of a random problem. */
import { fromHalf, toHalf } from '../../src/contract/half.ts';
import type { DType } from '../../src/index.ts';
import { random, randomArray } from '../rig/random.ts';
import type { FuzzProblem } from './problem.ts';

export interface FuzzInputs {
  readonly q: Float32Array; // [B,H,N,D]
  readonly k: Float32Array; // [B,Hk,M,D]
  readonly v: Float32Array; // [B,Hk,M,Dv]
  readonly mask: { readonly data: Uint8Array | Float32Array; readonly shape: readonly number[] } | undefined;
  readonly lengths: readonly number[] | undefined; // [B]
  readonly slopes: Float32Array | undefined; // [H]
  readonly sinks: Float32Array | undefined; // [H]
  readonly gradient: Float32Array; // [B,H,N,Dv]
}

/** As it is stored. */
export const round = (data: Float32Array<ArrayBuffer>, dtype: DType) =>
  dtype === 'f16' ? data.map((value) => fromHalf(toHalf(value))) : data;

export function drawInputs(p: FuzzProblem): FuzzInputs {
  const { B, Hk, N, M, D, Dv, seed } = p;
  const H = Hk * p.group;
  const draw = random(seed);
  return {
    q: round(randomArray(seed, B * H * N * D), p.qType),
    k: round(randomArray(seed + 1, B * Hk * M * D, 2), p.kType),
    v: round(randomArray(seed + 2, B * Hk * M * Dv), p.kType),
    mask: p.mask && drawMask(p.mask, [B, H, N, M], draw),
    lengths: p.lengths ? Array.from({ length: B }, () => Math.floor(draw() * (M + 2))) : undefined,
    slopes: p.alibi ? randomArray(seed + 3, H, 0.3) : undefined,
    sinks: p.sinks ? randomArray(seed + 4, H, 3) : undefined,
    gradient: round(randomArray(seed + 5, B * H * N * Dv), p.qType),
  };
}

function drawMask({ kind, broadcast, rank }: FuzzProblem['mask'] & object, full: number[], draw: () => number): FuzzInputs['mask'] {
  const shape = full.map((size, axis) => (broadcast[axis] ? 1 : size)).slice(4 - rank);
  const length = shape.reduce((a, b) => a * b, 1);
  if (kind === 'bool') return { data: Uint8Array.from({ length }, () => Number(draw() < 0.7)), shape };
  const numbers = Float32Array.from({ length }, () => (draw() < 0.2 ? Number.NEGATIVE_INFINITY : 4 * draw() - 2));
  return { data: round(numbers, kind), shape };
}
