import { expect, test } from 'vitest';
import { headsDispatch } from '../../src/kernels/heads.ts';
import { onDevices, place } from '../rig/gpu.ts';
import { problemOf, runKernel } from '../rig/kernel.ts';

onDevices('heads', (attention) => {
  test.each([1, 2, 63, 64, 65, 131])('%i heads: slope, sink, slope, sink …', async (H) => {
    const { device } = attention();
    const slopes = place(
      device,
      Array.from({ length: H }, (_, h) => h + 1),
      [H],
    );
    const sinks = place(
      device,
      Array.from({ length: H }, (_, h) => -h - 1),
      [H],
      { offset: 4 },
    );
    const heads = place(device, null, [H, 2], { offset: 256 });
    const problem = problemOf({ H, N: 1, M: 1 }, { alibiSlopes: slopes.tensor, sinks: sinks.tensor });
    await runKernel(attention(), headsDispatch(problem, 256), { alibi_slopes: slopes.tensor, sinks: sinks.tensor, heads: heads.tensor });
    expect([...(await heads.read())]).toEqual(Array.from({ length: 2 * H }, (_, i) => (i % 2 === 0 ? i / 2 + 1 : -(i - 1) / 2 - 1)));
  });
});
