/** Softcaps far above, at and below the scores: as accurate as a naive softcap whose tanh is exact, in every tier, forward and backward. */
import { expect, test } from 'vitest';
import type { AttentionOptions, GpuTensor } from '../../src/index.ts';
import { backward, scaledDotProductAttention } from '../../src/reference/index.ts';
import { backwardTiersOf } from '../rig/backward-tiers.ts';
import { onDevices } from '../rig/gpu.ts';
import { type NaiveSizes, naiveAttention } from '../rig/naive.ts';
import { naiveBackward } from '../rig/naive-backward.ts';
import { randomArray } from '../rig/random.ts';
import { tiersOf } from '../rig/tiers.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

const [B, H, N, M, D] = [1, 3, 9, 23, 8];
/** Scores up to about `scale`, and caps. */
const CASES = [
  [1, 1e30],
  [1, 1e15],
  [2, 3e6],
  [1, 7e3],
  [3, 40],
  [3, 5],
  [3, 3],
  [3, 1],
  [3, 0.1],
  [30, 1e-4],
  [200, 50],
  [1e-3, 1e-3],
  [1e-20, 1e-20],
  [5, 1e-30],
] as const;

const inputs = (scale: number) => ({
  q: randomArray(1, B * H * N * D),
  k: randomArray(2, B * H * M * D, scale / Math.sqrt(D)),
  v: randomArray(3, B * H * M * D),
  gradient: randomArray(4, B * H * N * D),
});
const host = (data: Float32Array, length: number) => ({ data, shape: [B, H, length, D] });

onDevices('softcap', (attention) => {
  const upload = (data: Float32Array, length: number) => attention().upload(data, [B, H, length, D]);
  const numbers = async (tensor: GpuTensor) => (await attention().download(tensor)).data;

  test.each(CASES)('scores up to %d, cap %d', async (scale, softcap) => {
    const on = attention();
    const { q, k, v } = inputs(scale);
    const sizes: NaiveSizes = { B, H, Hk: H, N, M, D, Dv: D, scale: 1, softcap };
    const options = { scale: 1, softcap, returnLse: true } as const;
    const expected = scaledDotProductAttention(host(q, N), host(k, M), host(v, M), { ...options, returnScores: 'softcapped' });
    const naive = await naiveAttention(on.device, sizes, q, k, v);
    const tensors = [upload(q, N), upload(k, M), upload(v, M)] as const;
    const ways: AttentionOptions[] = [{ returnScores: 'softcapped' }, ...tiersOf(on.device).map(({ variant }) => ({ variant }))];
    for (const way of ways) {
      const { out, lse, scores } = await on.scaledDotProductAttention(...tensors, { ...options, ...way });
      const what = JSON.stringify(way);
      expectAsGoodAsNaive(`${what} out`, await numbers(out), expected.out.data, naive.out);
      expectAsGoodAsNaive(`${what} lse`, await numbers(lse!), expected.lse!.data, naive.lse);
      if (scores) expectAsGoodAsNaive(`${what} scores`, await numbers(scores), expected.scores!.data, naive.scores);
      on.release(out, lse!, ...(scores ? [scores] : []));
    }
    on.release(...tensors);
  });

  test.each(CASES)('gradients: scores up to %d, cap %d', async (scale, softcap) => {
    const on = attention();
    const { q, k, v, gradient } = inputs(scale);
    const sizes: NaiveSizes = { B, H, Hk: H, N, M, D, Dv: D, scale: 1, softcap };
    const options = { scale: 1, softcap } as const;
    const given = { q: host(q, N), k: host(k, M), v: host(v, M) };
    const exact = scaledDotProductAttention(given.q, given.k, given.v, { ...options, returnLse: true });
    const expected = backward(host(gradient, N), { ...given, out: exact.out, lse: exact.lse! }, options);
    const naive = await naiveBackward(on.device, sizes, q, k, v, gradient);
    const tensors = { q: upload(q, N), k: upload(k, M), v: upload(v, M) };
    const dOut = upload(gradient, N);
    for (const { name, variant, alikeForward } of backwardTiersOf(on.device, D)) {
      const forward = { ...options, returnLse: true, variant: alikeForward };
      const { out, lse } = await on.scaledDotProductAttention(tensors.q, tensors.k, tensors.v, forward);
      const made = await on.backward(dOut, { ...tensors, out, lse: lse! }, { ...options, variant });
      for (const of of ['q', 'k', 'v'] as const)
        expectAsGoodAsNaive(`${name} d${of}`, await numbers(made[of]), expected[of].data, naive[of]);
      on.release(out, lse!, made.q, made.k, made.v);
    }
    on.release(...Object.values(tensors), dOut);
  });

  // Scores of 5 to 8 times the cap: 1 − tanh² is 1e-4 to 1e-7, of which 1 − (tanh, rounded)² would keep three digits or none.
  test('gradients keep their digits where tanh is near 1', async () => {
    const on = attention();
    const given = { q: [1], k: [5, 6, 7, 8], v: [0, 1, -1, 3], gradient: [1] };
    const tensor = (values: number[]) => ({ data: Float64Array.from(values), shape: [1, 1, values.length, 1] });
    const options = { scale: 1, softcap: 1 } as const;
    const forward = { q: tensor(given.q), k: tensor(given.k), v: tensor(given.v) };
    const exact = scaledDotProductAttention(forward.q, forward.k, forward.v, { ...options, returnLse: true });
    const expected = backward(tensor(given.gradient), { ...forward, out: exact.out, lse: exact.lse! }, options);
    const tensors = [given.q, given.k, given.v, given.gradient].map((values) => on.upload(values, [1, 1, values.length, 1]));
    const [q, k, v, gradient] = tensors as [GpuTensor, GpuTensor, GpuTensor, GpuTensor];
    const { out, lse } = await on.scaledDotProductAttention(q, k, v, { ...options, returnLse: true });
    for (const { name, variant } of backwardTiersOf(on.device, 1)) {
      const made = await on.backward(gradient, { q, k, v, out, lse: lse! }, { ...options, variant });
      expect((await numbers(made.q))[0]! / expected.q.data[0]!, `${name} dq`).toBeCloseTo(1, 5);
      const got = await numbers(made.k);
      for (const [m, value] of expected.k.data.entries()) expect(got[m]! / value, `${name} dk[${m}]`).toBeCloseTo(1, 5);
      on.release(made.q, made.k, made.v);
    }
    on.release(...tensors, out, lse!);
  });
});
