/** Inputs whose products are too large for f32 before the scale, and log-sum-exps near 0. */
import { describe, expect, test } from 'vitest';
import type { AttentionOptions, GpuTensor } from '../../src/index.ts';
import { splitScale } from '../../src/kernels/scale.ts';
import { backward, scaledDotProductAttention } from '../../src/reference/index.ts';
import { backwardTiersOf } from '../rig/backward-tiers.ts';
import { onDevices } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { tiersOf } from '../rig/tiers.ts';
import { expectWithin } from '../rig/tolerance.ts';

describe('a scale in two factors', () => {
  test.each([1, 0.125, 1 / Math.sqrt(80), -0.3, 2 ** -24, 1e-9, 1e-20, 1.5e-36, 2 ** -126, 1e-44])(
    '%d: a power of 2 before, the rest after',
    (scale) => {
      const { before, after } = splitScale(scale);
      expect(Number.isInteger(Math.log2(before)) && before <= 1).toBe(true);
      expect(before * after).toBe(scale);
      expect(Math.abs(after)).toBeLessThan(2);
    },
  );
  test.each([2, -1, 3e38])('%d stays after', (scale) => expect(splitScale(scale)).toEqual({ before: 1, after: scale }));
  test('0 makes every product 0', () => expect(splitScale(0)).toEqual({ before: 0, after: 0 }));
});

const [N, M, D] = [6, 21, 12];
const host = (data: Float32Array, length: number) => ({ data, shape: [1, 1, length, D] });

/** Greatest elements of q and of k, and the scale: scores of about 1 to 100, and some of 1e12 and 1e30. */
const LARGE = [
  [2e19, 5e18, 3e-38],
  [3e19, 3e19, 5e-40],
  [7e37, 1e2, 1e-39],
  [1e2, 7e37, -1e-39],
  [1e-3, 3e37, 5e-35],
  [3e37, 1e-3, 5e-35],
  [3e19, 3e19, 0],
  [1e25, 1e25, 1e-38],
  [2e33, 2e33, 2e-37],
  [3e18, 3e18, 0.25],
] as const;

/** Like expectWithin for one tensor; what is no normal f32 may be 0. */
function expectClose(what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, within: number): void {
  const normal = Float64Array.from(expected, (value) => (Math.abs(value) < 2 ** -126 ? 0 : value));
  expectWithin(
    what,
    { it: Float64Array.from(actual, (value, i) => (normal[i] === 0 && Math.abs(value) < 2 ** -125 ? 0 : value)) },
    { it: normal },
    within,
  );
}

onDevices('magnitudes', (attention) => {
  const upload = (data: Float32Array, length: number) => attention().upload(data, [1, 1, length, D]);
  const numbers = async (tensor: GpuTensor) => (await attention().download(tensor)).data;

  test.each(LARGE)('q up to %d, k up to %d, scale %d', async (large, larger, scale) => {
    const on = attention();
    const [q, k, v] = [randomArray(1, N * D, large), randomArray(2, M * D, larger), randomArray(3, M * D)];
    const options = { scale, returnLse: true } as const;
    const expected = scaledDotProductAttention(host(q, N), host(k, M), host(v, M), { ...options, returnScores: 'raw' });
    const tensors = [upload(q, N), upload(k, M), upload(v, M)] as const;
    const ways: AttentionOptions[] = [{ returnScores: 'raw' }, ...tiersOf(on.device).map(({ variant }) => ({ variant }))];
    for (const way of ways) {
      const { out, lse, scores } = await on.scaledDotProductAttention(...tensors, { ...options, ...way });
      const actual = { out: await numbers(out), lse: await numbers(lse!) };
      expectWithin(JSON.stringify(way), { lse: actual.lse }, { lse: expected.lse!.data }, 1e-6);
      // A score is off by its rounding: what weights it gives is told where scores are small.
      const greatest = Math.max(...expected.lse!.data.map(Math.abs));
      if (greatest < 1e3) expectWithin(JSON.stringify(way), { out: actual.out }, { out: expected.out.data }, 1e-6 * Math.max(1, greatest));
      else for (const value of actual.out) expect(Number.isFinite(value)).toBe(true);
      if (scores) expectWithin('scores', { scores: await numbers(scores) }, { scores: expected.scores!.data }, 1e-6);
      on.release(out, lse!, ...(scores ? [scores] : []));
    }
    on.release(...tensors);
  });

  test.each(LARGE.slice(0, 7))('gradients: q up to %d, k up to %d, scale %d', async (large, larger, scale) => {
    const on = attention();
    const [q, k, v] = [randomArray(1, N * D, large), randomArray(2, M * D, larger), randomArray(3, M * D)];
    const gradient = randomArray(4, N * D);
    const given = { q: host(q, N), k: host(k, M), v: host(v, M) };
    const exact = scaledDotProductAttention(given.q, given.k, given.v, { scale, returnLse: true });
    const expected = backward(host(gradient, N), { ...given, out: exact.out, lse: exact.lse! }, { scale });
    const tensors = { q: upload(q, N), k: upload(k, M), v: upload(v, M) };
    const dOut = upload(gradient, N);
    const greatest = Math.max(1, ...exact.lse!.data.map(Math.abs));
    for (const { name, variant, alikeForward } of backwardTiersOf(on.device, D)) {
      const forward = { scale, returnLse: true, variant: alikeForward };
      const { out, lse } = await on.scaledDotProductAttention(tensors.q, tensors.k, tensors.v, forward);
      const made = await on.backward(dOut, { ...tensors, out, lse: lse! }, { scale, variant });
      for (const of of ['q', 'k', 'v'] as const) expectClose(`${name} d${of}`, await numbers(made[of]), expected[of].data, 4e-6 * greatest);
      on.release(out, lse!, made.q, made.k, made.v);
    }
    on.release(...Object.values(tensors), dOut);
  });

  // Scores 0 and −x: the log-sum-exp is ln(1 + e^−x), whose sum is rounded once.
  test.each([0.1, 1, 3, 7, 12])('a log-sum-exp of ln(1 + e^−%d)', async (x) => {
    const on = attention();
    const tensors = [on.upload([1], [1, 1, 1, 1]), on.upload([0, -x], [1, 1, 2, 1]), on.upload([0, 1], [1, 1, 2, 1])] as const;
    for (const way of [{ algorithm: 'explicit' as const }, ...tiersOf(on.device).map(({ variant }) => ({ variant }))]) {
      const { out, lse } = await on.scaledDotProductAttention(...tensors, { ...way, scale: 1, returnLse: true });
      const [value] = await numbers(lse!);
      expect(Math.abs(value! - Math.log1p(Math.exp(-Math.fround(x)))), JSON.stringify(way)).toBeLessThan(3 * 2 ** -24);
      on.release(out, lse!);
    }
    on.release(...tensors);
  });
});
