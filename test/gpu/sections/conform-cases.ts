/** Problems of the short table, and their answers by the f64 reference. */
import type { AttentionOptions, HostTensor } from '../../../src/index.ts';
import { backward, scaledDotProductAttention } from '../../../src/reference/index.ts';

export interface Case {
  readonly name: string;
  readonly sizes: readonly [B: number, H: number, Hk: number, N: number, M: number, D: number, Dv: number];
  readonly options: Pick<AttentionOptions, 'isCausal' | 'causalOffset' | 'softcap' | 'window' | 'dropout'>;
}

const lowerRight = { isCausal: true, causalOffset: 'lower-right' } as const;
const everything = { softcap: 20, window: [40, 10], dropout: { probability: 0.2, seed: 7 } } as const;

export const CASES: readonly Case[] = [
  { name: 'prefill', sizes: [2, 4, 2, 67, 131, 64, 64], options: {} },
  { name: 'causal', sizes: [1, 4, 4, 150, 150, 64, 64], options: { isCausal: true } },
  { name: 'D 128', sizes: [1, 4, 2, 100, 257, 128, 128], options: lowerRight },
  { name: 'D 40, Dv 24', sizes: [1, 3, 3, 50, 77, 40, 24], options: {} },
  { name: 'D 256', sizes: [1, 2, 1, 33, 65, 256, 256], options: {} },
  { name: 'options', sizes: [1, 4, 2, 70, 90, 64, 64], options: { ...everything, window: [40, 10] } },
  { name: 'decode', sizes: [1, 8, 2, 1, 3000, 64, 64], options: {} },
  { name: 'decode D 128', sizes: [2, 32, 8, 1, 700, 128, 128], options: {} },
  { name: 'decode N 4', sizes: [1, 8, 2, 4, 1500, 64, 64], options: lowerRight },
];

/** Numbers in [−1, 1) that f16 has exactly, so that both types see the same. */
export function noise(seed: number, length: number): Float32Array<ArrayBuffer> {
  let state = seed * 977;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.round(state / 2 ** 22 - 512) / 512;
  });
}

export interface Expected {
  readonly host: Readonly<Record<'q' | 'k' | 'v' | 'gradient', HostTensor>>;
  readonly forward: { readonly out: HostTensor };
  readonly backward: Readonly<Record<'q' | 'k' | 'v', HostTensor>>;
}

const known = new Map<Case, Expected>();

/** The inputs and the reference's answers, computed once for all devices. */
export function expectedOf(one: Case): Expected {
  const before = known.get(one);
  if (before) return before;
  const { sizes, options } = one;
  const [B, H, Hk, N, M, D, Dv] = sizes;
  const make = (seed: number, ...shape: number[]): HostTensor => ({
    data: noise(
      seed,
      shape.reduce((a, b) => a * b, 1),
    ),
    shape,
  });
  const host = { q: make(1, B, H, N, D), k: make(2, B, Hk, M, D), v: make(3, B, Hk, M, Dv), gradient: make(4, B, H, N, Dv) };
  const { q, k, v, gradient } = host;
  const forward = scaledDotProductAttention(q, k, v, { ...options, returnLse: true });
  const expected = { host, forward, backward: backward(gradient, { q, k, v, out: forward.out, lse: forward.lse! }, options) };
  known.set(one, expected);
  return expected;
}
