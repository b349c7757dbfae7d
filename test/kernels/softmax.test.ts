import { expect, test } from 'vitest';
import { softmaxDispatch } from '../../src/kernels/softmax.ts';
import { softmax as referenceSoftmax } from '../../src/reference/softmax.ts';
import { onDevices, place } from '../rig/gpu.ts';
import { problemOf, runKernel } from '../rig/kernel.ts';
import { naiveSoftmax } from '../rig/naive.ts';
import { random, randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive, LOWEST } from '../rig/tolerance.ts';

onDevices('softmax', (attention) => {
  async function runSoftmax(
    scoresData: ArrayLike<number>,
    [B, H, N, M]: [number, number, number, number],
    variant: { LANES: number; ROWS: number },
  ) {
    const { device } = attention();
    const scores = place(device, scoresData, [B, H, N, M], { offset: 256 });
    const lse = place(device, null, [B, H, N], { offset: 512 });
    const dispatch = softmaxDispatch(problemOf({ B, H, N, M }, { returnLse: true }), variant, 256);
    await runKernel(attention(), dispatch, { scores: scores.tensor, lse: lse.tensor });
    return { weights: await scores.read(), lse: await lse.read() };
  }

  test('2×2 by hand', async () => {
    // softmax(0, ln 3) = 1/4, 3/4 with log-sum-exp ln 4; softmax(5, 5) = 1/2, 1/2 with 5 + ln 2
    const { weights, lse } = await runSoftmax([0, Math.log(3), 5, 5], [1, 1, 2, 2], { LANES: 4, ROWS: 16 });
    for (const [i, expected] of [0.25, 0.75, 0.5, 0.5].entries()) expect(weights[i]).toBeCloseTo(expected, 6);
    for (const [i, expected] of [Math.log(4), 5 + Math.log(2)].entries()) expect(lse[i]).toBeCloseTo(expected, 6);
  });

  test('a row whose elements are all excluded weighs 0', async () => {
    const { weights, lse } = await runSoftmax([LOWEST, -Infinity, 1, LOWEST], [1, 1, 2, 2], { LANES: 4, ROWS: 16 });
    expect([...weights]).toEqual([0, 0, 1, 0]);
    expect([...lse]).toEqual([LOWEST, 1]);
  });

  for (const variant of [
    { LANES: 1, ROWS: 32 },
    { LANES: 4, ROWS: 16 },
    { LANES: 16, ROWS: 4 },
    { LANES: 64, ROWS: 1 },
    { LANES: 256, ROWS: 1 },
  ]) {
    test(`${variant.LANES} lanes, ${variant.ROWS} rows a workgroup`, async () => {
      const { LANES, ROWS } = variant;
      for (const M of new Set([1, LANES - 1, LANES, LANES + 1, 8 * LANES + 3, 257].filter((length) => length > 0))) {
        const N = M === LANES ? ROWS + 1 : Math.max(1, ROWS - 1);
        for (const scale of [1, 1e4]) {
          const drop = random(M);
          const data = randomArray(M + N, 2 * N * M, scale).map((score) => (drop() < 0.2 ? LOWEST : score));
          const expected = referenceSoftmax(data, M);
          const naive = await naiveSoftmax(attention().device, data, M);
          const { weights, lse } = await runSoftmax(data, [1, 2, N, M], variant);
          expectAsGoodAsNaive(`weights of rows of ${M}, logits to ${scale}`, weights, expected.weights, naive.weights);
          expectAsGoodAsNaive(`log-sum-exp of rows of ${M}, logits to ${scale}`, lse, expected.lse, naive.lse);
        }
      }
    });
  }
});
