/** The gradients of a projection: three products of the kernel project on transposed views. */
import { expect, test } from 'vitest';
import { projectBackward as reference } from '../../src/reference/project.ts';
import { onDevices, placeBytes } from '../rig/gpu.ts';
import { naiveProject } from '../rig/naive.ts';
import { randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

const transpose = (data: Float32Array, cols: number) =>
  Float32Array.from(data, (_, i) => data[(i % (data.length / cols)) * cols + Math.floor(i / (data.length / cols))]!);

onDevices('projectBackward', (attention) => {
  test('2×2 by hand', async () => {
    // x = [1 2; 3 4], w = [1 0; 1 1], dY = [1 0; 2 3]: dX = dY wᵀ = [1 1; 2 5], dW = xᵀ dY = [7 9; 10 12], db = [3 3]
    const on = attention();
    const [x, w, dY] = [on.upload([1, 2, 3, 4], [2, 2]), on.upload([1, 0, 1, 1], [2, 2]), on.upload([1, 0, 2, 3], [2, 2])];
    const got = await on.projectBackward(dY, x, w);
    expect([...(await on.download(got.x)).data]).toEqual([1, 1, 2, 5]);
    expect([...(await on.download(got.weights)).data]).toEqual([7, 9, 10, 12]);
    expect([...(await on.download(got.bias)).data]).toEqual([3, 3]);
    on.release(x, w, dY, got.x, got.weights, got.bias);
  });

  test.each([
    [1, 1, 1],
    [17, 5, 33],
    [64, 65, 63],
    [131, 67, 16],
    [3, 129, 70],
  ])('%d rows of %d to %d', async (rows, width, outWidth) => {
    const on = attention();
    const { device } = on;
    const [xData, wData] = [randomArray(rows, rows * width), randomArray(width, width * outWidth)];
    const dYData = randomArray(outWidth, rows * outWidth);
    const x = placeBytes(device, xData, [rows, width], { strides: [width + 2, 1] });
    const w = placeBytes(device, wData, [width, outWidth], { strides: [outWidth + 3, 1], offset: 8 });
    const dY = placeBytes(device, dYData, [rows, outWidth], { strides: [outWidth + 1, 1], offset: 20 });
    const got = await on.projectBackward(dY, x, w);
    expect([got.x.shape, got.weights.shape, got.bias.shape]).toEqual([[rows, width], [width, outWidth], [outWidth]]);
    const expected = reference(dYData, xData, wData, width, outWidth);
    const naive = (a: Float32Array<ArrayBuffer>, b: Float32Array<ArrayBuffer>, inner: number, cols: number) =>
      naiveProject(device, a, b, new Float32Array(cols), inner, cols);
    const naives = {
      x: await naive(dYData, transpose(wData, outWidth), outWidth, width),
      weights: await naive(transpose(xData, width), dYData, rows, outWidth),
      bias: await naive(new Float32Array(rows).fill(1), dYData, rows, outWidth),
    };
    for (const name of ['x', 'weights', 'bias'] as const)
      expectAsGoodAsNaive(`d${name}`, (await on.download(got[name])).data, expected[name], naives[name]);
    on.release(got.x, got.weights, got.bias);
  });

  test('rows of a rank-3 tensor', async () => {
    const on = attention();
    const [x, w, dY] = [on.upload([1, 2, 3, 4], [2, 2, 1]), on.upload([2, 3], [1, 2]), on.upload([1, 0, 0, 1, 1, 1, 2, 0], [2, 2, 2])];
    const got = await on.projectBackward(dY, x, w);
    expect(got.x.shape).toEqual([2, 2, 1]);
    expect([...(await on.download(got.x)).data]).toEqual([2, 3, 5, 4]);
    on.release(x, w, dY, got.x, got.weights, got.bias);
  });
});
