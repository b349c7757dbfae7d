/** Infinities and NaNs in v: what sees them gets them, and what does not see them is as if they were not there, in every tier. */
import { expect, test } from 'vitest';
import type { AttentionOptions, GpuTensor } from '../../src/index.ts';
import { type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { tiersOf } from '../rig/tiers.ts';

onDevices('values that are not finite', (attention) => {
  test.each<[string, ReferenceOptions, boolean]>([
    ['causal', { isCausal: true }, false],
    ['softcap and dropout, where a mask excludes it', { softcap: 1.5, dropout: { probability: 0.3, seed: 7 } }, true],
    ['a window and dropout, where a mask excludes it', { window: [3, 2], dropout: { probability: 0.3, seed: 8 } }, true],
  ])('%s', async (_, options, isMasked) => {
    const on = attention();
    const [N, M, D, Dv] = [13, 27, 8, 6];
    const values = randomArray(3, M * Dv);
    const wild = new Map([
      [9 * Dv + 2, Infinity],
      [12 * Dv, Number.NaN],
      [15 * Dv + 5, -Infinity],
      [26 * Dv + 1, Number.NaN],
    ]);
    for (const [at, value] of wild) values[at] = value;
    const mask = { data: Uint8Array.from({ length: M }, (_, m) => Number(![9, 12, 15, 26].includes(m))), shape: [M] };
    const q = { data: randomArray(1, N * D), shape: [1, 1, N, D] };
    const k = { data: randomArray(2, M * D), shape: [1, 1, M, D] };
    const v = { data: values, shape: [1, 1, M, Dv] };
    const expected = scaledDotProductAttention(q, k, v, { ...options, causalOffset: 9, ...(isMasked && { mask }) }).out.data;
    expect(Array.from(expected).every(Number.isFinite)).toBe(isMasked);
    const tensors = [q, k, v, mask].map(({ data, shape }) => on.upload(data, shape)) as [GpuTensor, GpuTensor, GpuTensor, GpuTensor];
    const [gpuQ, gpuK, gpuV, gpuMask] = tensors;
    const given = { ...options, causalOffset: 9, ...(isMasked && { mask: gpuMask }) } as AttentionOptions;
    for (const way of [{ algorithm: 'explicit' } as const, ...tiersOf(on.device).map(({ variant }) => ({ variant }))]) {
      const { out } = await on.scaledDotProductAttention(gpuQ, gpuK, gpuV, { ...given, ...way });
      const actual = (await on.download(out)).data;
      for (const [i, value] of expected.entries()) {
        const element = `${JSON.stringify(way)}: element ${i}`;
        if (Number.isFinite(value)) expect(actual[i], element).toBeCloseTo(value, 5);
        else expect(actual[i], element).toBe(value);
      }
      on.release(out);
    }
    on.release(...tensors);
  });
});
