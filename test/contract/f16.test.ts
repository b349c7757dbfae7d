/** f16 storage with f32 sums: as good as a naive f32 kernel whose result is rounded to f16. On devices without shader-f16, the error that says so. */
import { expect, test } from 'vitest';
import { fromHalf, toHalf } from '../../src/contract/half.ts';
import type { Attention, AttentionOptions, DType, GpuTensor } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { type NaiveSizes, naiveAttention } from '../rig/naive.ts';
import { randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

const rounded = (data: Float32Array) => data.map((value) => fromHalf(toHalf(value)));

/** Expects a naive f32 kernel's errors at most, its result rounded to out's type; with a mask of f16. */
async function expectAsGoodAsRounded(
  on: Attention,
  [N, M, D, Dv]: readonly [N: number, M: number, D: number, Dv: number],
  qType: DType,
  kType: DType,
  options: AttentionOptions,
): Promise<void> {
  const sizes: NaiveSizes = { B: 1, H: 2, Hk: 1, N, M, D, Dv, scale: 0.3, softcap: 0 };
  const cast = (data: Float32Array<ArrayBuffer>, dtype: DType) => (dtype === 'f16' ? rounded(data) : data);
  const data = {
    q: cast(randomArray(1, 2 * N * D), qType),
    k: cast(randomArray(2, M * D), kType),
    v: cast(randomArray(3, M * Dv), kType),
  };
  const maskData = rounded(randomArray(4, N * M, 2)).map((value, i) => (i % 7 === 0 ? Number.NEGATIVE_INFINITY : value));
  const tensors = [
    on.upload(data.q, [1, 2, N, D], qType),
    on.upload(data.k, [1, 1, M, D], kType),
    on.upload(data.v, [1, 1, M, Dv], kType),
  ] as [GpuTensor, GpuTensor, GpuTensor];
  const mask = on.upload(maskData, [N, M], 'f16');
  const { out } = await on.scaledDotProductAttention(...tensors, { ...options, mask, scale: 0.3 });
  expect(out.dtype).toBe(qType);
  const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
  const expected = scaledDotProductAttention(host(data.q, 1, 2, N, D), host(data.k, 1, 1, M, D), host(data.v, 1, 1, M, Dv), {
    scale: 0.3,
    mask: host(maskData, N, M),
  });
  const bias = Float32Array.from({ length: 2 * N * M }, (_, i) => Math.max(maskData[i % (N * M)]!, -3.4028234663852886e38));
  const naive = await naiveAttention(on.device, sizes, data.q, data.k, data.v, bias);
  expectAsGoodAsNaive('out', (await on.download(out)).data, expected.out.data, qType === 'f16' ? rounded(naive.out) : naive.out);
  on.release(...tensors, mask, out);
}

onDevices('f16', (attention) => {
  const hasHalf = () => attention().device.features.has('shader-f16');

  test('without the feature: an error that names it', async ({ skip }) => {
    skip(hasHalf(), 'this device has shader-f16');
    const q = attention().upload([1, 2], [1, 1, 1, 2], 'f16');
    await expect(attention().scaledDotProductAttention(q, q, q)).rejects.toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('shader-f16') }),
    );
    attention().release(q);
  });

  test('upload rounds to nearest even, download gives it back, odd lengths and views included', async () => {
    const on = attention();
    const data = randomArray(1, 15, 3);
    const tensor = on.upload(data, [3, 5], 'f16');
    expect((await on.download(tensor)).data).toEqual(rounded(data));
    expect((await on.download({ ...tensor, shape: [2, 3], strides: [5, 1], offset: 4 })).data).toEqual(
      Float32Array.from([2, 3, 4, 7, 8, 9], (i) => rounded(data)[i]!),
    );
    const bits = on.upload(Uint16Array.of(0x3c00, 0xc000, 0x7bff), [3]);
    expect((await on.download(bits)).data).toEqual(Float32Array.of(1, -2, 65504));
    on.release(tensor, bits);
  });

  const ways: [string, AttentionOptions][] = [
    ['explicit', { algorithm: 'explicit' }],
    ['baseline', { variant: { flash_forward: { TILE_N: 16 } } }],
    ['quad', { variant: { flash_forward_quad: { ROWS: 2 } } }],
    ['row', { variant: { flash_forward_row: { ROWS: 2 } } }],
    ['decode', { variant: { flash_decode: { SPLITS: 2 } } }],
    ['decode without splits', { variant: { flash_decode: { SPLITS: 1 } } }],
  ];
  for (const [qType, kType] of [
    ['f16', 'f16'],
    ['f16', 'f32'],
    ['f32', 'f16'],
  ] as [DType, DType][]) {
    test.for(ways)(`q ${qType}, k ${kType}, %s`, async ([way, options], { skip }) => {
      const on = attention();
      skip(!hasHalf(), 'needs shader-f16');
      skip(['quad', 'row'].includes(way) && !on.device.features.has('subgroups'), 'needs subgroups');
      for (const sizes of [
        [33, 65, 17, 41],
        [5, 130, 64, 64],
      ] as const)
        await expectAsGoodAsRounded(on, sizes, qType, kType, options);
    });
  }

  test('values of 256 do not overflow', async ({ skip }) => {
    skip(!hasHalf(), 'needs shader-f16');
    const on = attention();
    const tensor = on.upload(new Float32Array(80 * 64).fill(256), [1, 1, 80, 64], 'f16');
    for (const [, options] of ways.slice(0, 2)) {
      const { out } = await on.scaledDotProductAttention(tensor, tensor, tensor, options);
      expect(new Set((await on.download(out)).data)).toEqual(new Set([256]));
      on.release(out);
    }
    on.release(tensor);
  });
});
