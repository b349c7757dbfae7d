import { expect, test } from 'vitest';
import type { GpuTensor } from '../../src/index.ts';
import { merge as referenceMerge, scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices, place } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { expectNear, LOWEST } from '../rig/tolerance.ts';

onDevices('flash_merge', (attention) => {
  test('two rows by hand', async () => {
    // shares 1/4 and 3/4 of 4 and 8: 7, and ln 4; a part that saw nothing has no share, whatever lies in it
    const on = attention();
    const part = (out: number[], lse: number[]) => ({ out: on.upload(out, [1, 1, 2, 1]), lse: on.upload(lse, [1, 1, 2]) });
    const parts = [part([4, Number.NaN], [0, LOWEST]), part([8, 5], [Math.log(3), 2])];
    const { out, lse } = await on.merge(parts);
    const [o, l] = [(await on.download(out)).data, (await on.download(lse)).data];
    for (const [i, value] of [7, 5].entries()) expect(o[i]).toBeCloseTo(value, 5);
    for (const [i, value] of [Math.log(4), 2].entries()) expect(l[i]).toBeCloseTo(value, 5);
    on.release(...parts.flatMap((each) => [each.out, each.lse]), out, lse);
  });

  test('no part saw a key: 0, and the lowest finite f32', async () => {
    const on = attention();
    const part = { out: on.upload([3], [1, 1, 1, 1]), lse: on.upload([LOWEST], [1, 1, 1]) };
    for (const parts of [[part], [part, part], [part, part, part]]) {
      const { out, lse } = await on.merge(parts);
      expect([(await on.download(out)).data[0], (await on.download(lse)).data[0]]).toEqual([0, LOWEST]);
      on.release(out, lse);
    }
    on.release(part.out, part.lse);
  });

  test.each([1, 2, 3, 5])('attention over %i slices of the keys, merged, is attention over all of them', async (count) => {
    const on = attention();
    const [B, H, N, M, D, Dv] = [2, 3, 17, 61, 9, 13];
    const data = { q: randomArray(1, B * H * N * D), k: randomArray(2, B * H * M * D, 3), v: randomArray(3, B * H * M * Dv) };
    const q = place(on.device, data.q, [B, H, N, D]).tensor;
    const k = on.upload(data.k, [B, H, M, D]);
    const v = on.upload(data.v, [B, H, M, Dv]);
    const slice = (tensor: GpuTensor, width: number, from: number, to: number): GpuTensor => ({
      ...{
        buffer: tensor.buffer,
        dtype: 'f32',
        shape: [B, H, to - from, width],
        strides: [H * M * width, M * width, width, 1],
        offset: 4 * from * width,
      },
    });
    const ends = Array.from({ length: count + 1 }, (_, i) => Math.floor((i * M) / count));
    const parts = [];
    for (let i = 0; i < count; i++) {
      const [from, to] = [ends[i]!, ends[i + 1]!];
      const { out, lse } = await on.scaledDotProductAttention(q, slice(k, D, from, to), slice(v, Dv, from, to), { returnLse: true });
      parts.push({ out, lse: lse! });
    }
    const merged = await on.merge(parts);
    const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
    const expected = scaledDotProductAttention(host(data.q, B, H, N, D), host(data.k, B, H, M, D), host(data.v, B, H, M, Dv), {
      returnLse: true,
    });
    const twin = referenceMerge(
      await Promise.all(parts.map(async ({ out, lse }) => ({ out: await on.download(out), lse: await on.download(lse) }))),
    );
    for (const name of ['out', 'lse'] as const) {
      const actual = (await on.download(merged[name])).data;
      expectNear(name, actual, expected[name]!.data, 4e-6);
      expectNear(`${name}, of the same parts`, actual, twin[name].data, 2e-6);
    }
    on.release(k, v, ...parts.flatMap(({ out, lse }) => [out, lse]), merged.out, merged.lse);
  });
});
