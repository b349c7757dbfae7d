/** Gradients in f16 storage with f32 sums: as good as a naive f32 pass whose out and gradients are rounded to f16. */
import { expect, test } from 'vitest';
import { fromHalf, toHalf } from '../../src/contract/half.ts';
import type { DType } from '../../src/index.ts';
import { backward, scaledDotProductAttention } from '../../src/reference/index.ts';
import { backwardTiersOf } from '../rig/backward-tiers.ts';
import { onDevices } from '../rig/gpu.ts';
import { naiveBackward } from '../rig/naive-backward.ts';
import { randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

const rounded = (data: Float32Array) => data.map((value) => fromHalf(toHalf(value)));

onDevices('backward in f16', (attention) => {
  const hasHalf = () => attention().device.features.has('shader-f16');
  const cast = (data: Float32Array<ArrayBuffer>, dtype: DType): Float32Array<ArrayBuffer> =>
    dtype === 'f16' ? (rounded(data) as Float32Array<ArrayBuffer>) : data;

  test('without the feature: an error that names it', async ({ skip }) => {
    skip(hasHalf(), 'this device has shader-f16');
    const on = attention();
    const [q, lse] = [on.upload([1, 2], [1, 1, 1, 2], 'f16'), on.upload([1], [1, 1, 1])];
    await expect(on.backward(q, { q, k: q, v: q, out: q, lse })).rejects.toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('shader-f16') }),
    );
    on.release(q, lse);
  });

  const types: [DType, DType][] = [
    ['f16', 'f16'],
    ['f16', 'f32'],
    ['f32', 'f16'],
  ];
  const sizes = [
    [33, 65, 17, 41],
    [5, 70, 64, 64],
  ] as const;
  const all = types.flatMap((pair) =>
    sizes.flatMap((size) => ['baseline', 'row', 'quad'].map((tier) => [...pair, tier, ...size] as const)),
  );
  test.for(all)('q %s, k %s, %s, N %d, M %d, D %d, Dv %d', async ([qType, kType, tier, N, M, D, Dv], { skip }) => {
    const on = attention();
    skip(!hasHalf(), 'needs shader-f16');
    const variant = backwardTiersOf(on.device, Math.max(D, Dv)).find(({ name }) => name === tier)?.variant;
    skip(!variant, 'needs subgroups');
    const isCompilable = qType !== 'f32' || tier !== 'row' || D % 4 === 0 || on.device.adapterInfo.subgroupMaxSize !== 4;
    skip(!isCompilable, 'lavapipe of 4 lanes ends the process: "LLVM ERROR: Cannot emit physreg copy instruction" (Mesa, 24 Nov 2026)');
    const data = {
      q: cast(randomArray(1, 2 * N * D), qType),
      k: cast(randomArray(2, M * D), kType),
      v: cast(randomArray(3, M * Dv), kType),
      gradient: cast(randomArray(4, 2 * N * Dv), qType),
    };
    const [q, gradient] = [on.upload(data.q, [1, 2, N, D], qType), on.upload(data.gradient, [1, 2, N, Dv], qType)];
    const [k, v] = [on.upload(data.k, [1, 1, M, D], kType), on.upload(data.v, [1, 1, M, Dv], kType)];
    const { out, lse } = await on.scaledDotProductAttention(q, k, v, { scale: 0.3, returnLse: true });
    const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
    const forward = { q: host(data.q, 1, 2, N, D), k: host(data.k, 1, 1, M, D), v: host(data.v, 1, 1, M, Dv) };
    const exact = scaledDotProductAttention(forward.q, forward.k, forward.v, { scale: 0.3, returnLse: true });
    const expected = backward(host(data.gradient, 1, 2, N, Dv), { ...forward, out: exact.out, lse: exact.lse! }, { scale: 0.3 });
    const naiveSizes = { B: 1, H: 2, Hk: 1, N, M, D, Dv, scale: 0.3, softcap: 0 };
    const store = (values: Float32Array<ArrayBuffer>) => cast(values, qType);
    const naive = await naiveBackward(on.device, naiveSizes, data.q, data.k, data.v, data.gradient, store);
    const got = await on.backward(gradient, { q, k, v, out, lse: lse! }, { scale: 0.3, variant: variant! });
    expect([got.q.dtype, got.k.dtype, got.v.dtype]).toEqual([qType, kType, kType]);
    for (const [name, dtype] of [
      ['q', qType],
      ['k', kType],
      ['v', kType],
    ] as const)
      expectAsGoodAsNaive(`d${name}`, (await on.download(got[name])).data, expected[name].data, cast(naive[name], dtype));
    on.release(q, k, v, gradient, out, lse!, got.q, got.k, got.v);
  });
});
