/** Long rows and extreme logits, in every tier of the fused pass. */
import { expect, test } from 'vitest';
import { onDevices } from '../rig/gpu.ts';
import { naiveSoftmax } from '../rig/naive.ts';
import { randomArray } from '../rig/random.ts';
import { firstTiersOf } from '../rig/tiers.ts';
import { expectAsGoodAsNaive, expectNear } from '../rig/tolerance.ts';

onDevices('long rows and extreme logits', (attention) => {
  const tiers = () => firstTiersOf(attention().device).map(({ variant }) => ({ variant }));

  test('49,999 keys of zeros with values of one give 1', async () => {
    const on = attention();
    const M = 49_999;
    const [q, k, v] = [
      on.upload(randomArray(1, 8), [1, 1, 2, 4]),
      on.upload(new Float32Array(M * 4), [1, 1, M, 4]),
      on.upload(new Float32Array(M).fill(1), [1, 1, M, 1]),
    ];
    const naive = await naiveSoftmax(on.device, new Float32Array(2 * M), M);
    for (const options of tiers()) {
      const { out, lse } = await on.scaledDotProductAttention(q, k, v, { ...options, returnLse: true });
      expectNear('out', (await on.download(out)).data, [1, 1], 1e-6);
      // Some devices' exp(0) is not quite 1, and a naive sum of so many terms loses digits: as good as that.
      expectAsGoodAsNaive('lse', (await on.download(lse!)).data, [Math.log(M), Math.log(M)], naive.lse);
      on.release(out, lse!);
    }
    on.release(q, k, v);
  });

  test('logits of ±3e4 give no NaN and pick the largest', async () => {
    const on = attention();
    const [q, k, v] = [on.upload([1, -1], [1, 1, 2, 1]), on.upload([3e4, -3e4, 2.9e4], [1, 1, 3, 1]), on.upload([1, 2, 4], [1, 1, 3, 1])];
    for (const options of tiers()) {
      const { out } = await on.scaledDotProductAttention(q, k, v, options);
      expect([...(await on.download(out)).data]).toEqual([1, 2]);
      on.release(out);
    }
    on.release(q, k, v);
  });

  test('65,536 queries and keys need no N×M memory', async () => {
    const layout = { shape: [1, 8, 65536, 64], dtype: 'f32' as const };
    const small = { ...layout, strides: [0, 0, 64, 1] }; // within every device's binding limit
    const plan = await attention().plan({ q: small, k: small, v: small, out: layout, alibiSlopes: true, sinks: true }); // 128 MiB of out fit everywhere
    expect(plan.workspaceBytes).toBeLessThan(2 ** 20);
    expect(plan.kernels.at(-1)!.name).toMatch(/^flash_forward/);
  });
});
