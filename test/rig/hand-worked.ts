/** Attention over tensors small enough to be worked by hand, by both algorithms and by every kernel. */
import { expect } from 'vitest';
import type { Attention, AttentionOptions, GpuTensor } from '../../src/index.ts';
import { firstTiersOf, tiersOf } from './tiers.ts';
import { LOWEST } from './tolerance.ts';

/** Expects the same numbers to five decimals, and the lowest finite f32 exactly. */
export function expectClose(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of expected.entries()) {
    if (value === LOWEST) expect(actual[i], `element ${i}`).toBe(LOWEST);
    else expect(actual[i], `element ${i}`).toBeCloseTo(value, 5);
  }
}

/** Both algorithms, and every tier of the fused one that this device has. */
export const everyWay = (device: GPUDevice): AttentionOptions[] => [
  { algorithm: 'explicit' },
  ...tiersOf(device).map(({ variant }) => ({ variant })),
];

/** Attention over tensors given as numbers. Downloads everything, releases it, and expects the same of the other algorithm and of every kernel. */
export async function attend(
  on: Attention,
  q: number[],
  k: number[],
  v: number[],
  [N, M]: readonly [N: number, M: number],
  options: AttentionOptions = {},
) {
  const inputs = [
    on.upload(q, [1, 1, N, q.length / N]),
    on.upload(k, [1, 1, M, k.length / M]),
    on.upload(v, [1, 1, M, v.length / M]),
  ] as const;
  const numbers = async (tensor: GpuTensor | undefined) => (tensor ? [...(await on.download(tensor)).data] : []);
  const attendOnce = async (chosen: AttentionOptions) => {
    const { out, lse, scores } = await on.scaledDotProductAttention(...inputs, chosen);
    const result = { out: await numbers(out), lse: await numbers(lse), scores: await numbers(scores) };
    on.release(out, ...(lse ? [lse] : []), ...(scores ? [scores] : []));
    return result;
  };
  const result = await attendOnce(options);
  const { returnScores, ...rest } = options;
  const others: AttentionOptions[] = [
    { algorithm: returnScores ? 'fused' : 'explicit' },
    ...firstTiersOf(on.device).map(({ variant }) => ({ algorithm: 'fused' as const, variant })),
  ];
  for (const other of others) {
    const { out, lse } = await attendOnce({ ...rest, ...other });
    expectClose(out, result.out);
    expectClose(lse, result.lse);
  }
  on.release(...inputs);
  return result;
}

export const LN3 = Math.log(3);
/** One query of 1 against keys 0 and ln 3, values 4 and 8: weights 1/4 and 3/4, out 7. D = 1, so the default scale is 1. */
export const attendOne = (on: Attention, options: AttentionOptions = {}) => attend(on, [1], [0, LN3], [4, 8], [1, 2], options);
