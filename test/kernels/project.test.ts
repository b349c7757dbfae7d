import { describe, expect, test } from 'vitest';
import { checkLayout } from '../../src/contract/tensor.ts';
import type { Attention } from '../../src/index.ts';
import { normalizeProjection, productDispatch, projectDispatch } from '../../src/kernels/project.ts';
import { project as referenceProject } from '../../src/reference/project.ts';
import { onDevices, place } from '../rig/gpu.ts';
import { runKernel } from '../rig/kernel.ts';
import { naiveProject } from '../rig/naive.ts';
import { randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

const SMALL = { TILE_N: 16, TILE_O: 16, TILE_I: 16, ROWS: 1, COLS: 1 };
const LARGE = { TILE_N: 64, TILE_O: 64, TILE_I: 16, ROWS: 2, COLS: 2 };
const SOFTWARE = { TILE_N: 64, TILE_O: 64, TILE_I: 16, ROWS: 4, COLS: 2 };
const INTEL = { TILE_N: 32, TILE_O: 32, TILE_I: 16, ROWS: 1, COLS: 1 };
const LARGEST = { TILE_N: 64, TILE_O: 128, TILE_I: 16, ROWS: 4, COLS: 4 };
const TALL = { TILE_N: 32, TILE_O: 16, TILE_I: 8, ROWS: 2, COLS: 1 };
const WIDE = { TILE_N: 16, TILE_O: 32, TILE_I: 8, ROWS: 1, COLS: 2 };

const everyTile = (attention: () => Attention) => {
  test('2×2 by hand, with a bias', async () => {
    // x = [1 2; 3 4], w = [1 0; 1 1], bias = [10 20]: y = [13 22; 17 24]
    const x = attention().upload([1, 2, 3, 4], [2, 2]);
    const w = attention().upload([1, 0, 1, 1], [2, 2]);
    const bias = attention().upload([10, 20], [2]);
    const y = await attention().project(x, w, bias);
    expect([...(await attention().download(y)).data]).toEqual([13, 22, 17, 24]);
    attention().release(x, w, bias, y);
  });

  test('rows of a rank-3 tensor', async () => {
    const x = attention().upload([1, 2, 3, 4], [2, 2, 1]);
    const w = attention().upload([2, 3], [1, 2]);
    const y = await attention().project(x, w);
    expect(y.shape).toEqual([2, 2, 2]);
    expect([...(await attention().download(y)).data]).toEqual([2, 3, 4, 6, 6, 9, 8, 12]);
    attention().release(x, w, y);
  });

  test('dimensions of size 1 have no say in how far apart rows are', async () => {
    const cache = attention().upload([1, 2, 0, 3, 4, 0], [2, 1, 3]);
    const w = attention().upload([1, 1], [2, 1]);
    const y = await attention().project({ ...cache, shape: [2, 1, 2], strides: [3, 7, 1] }, w);
    expect([...(await attention().download(y)).data]).toEqual([3, 7]);
    attention().release(cache, w, y);
  });

  test('a product added to what lies somewhere in a buffer', async () => {
    const { device } = attention();
    const [x, w] = [place(device, [1, 2, 3, 4], [2, 2]), place(device, [1, 0, 1, 1], [2, 2])];
    const y = place(device, [100, 200, 300, 400], [2, 2], { offset: 256 + 20 });
    const matrix = ({ tensor }: typeof x) => ({ layout: checkLayout('test', tensor, 'input'), row: 2, col: 1 });
    const into = { y: matrix(y).layout, accumulates: true };
    const dispatch = productDispatch([2, 2, 2], matrix(x), matrix(w), SMALL, 256, undefined, into);
    await runKernel(attention(), dispatch, { x: x.tensor, w: w.tensor, y: y.tensor });
    expect([...(await y.read())]).toEqual([103, 202, 307, 404]);
  });

  describe.each([
    ['small', SMALL, [1, 15, 16, 17]],
    ['large', LARGE, [63, 65, 131]],
    ['largest', LARGEST, [65, 131]],
    ['software', SOFTWARE, [65]],
    ['intel', INTEL, [33]],
    ['tall', TALL, [31, 33]],
    ['wide', WIDE, [15, 37]],
  ] as const)('%s tiles', (_, variant, lengths) => {
    for (const rows of lengths) {
      for (const outWidth of lengths) {
        test(`${rows} rows to ${outWidth}`, async () => {
          const { device } = attention();
          for (const width of [1, 7, 16, 17, 67]) {
            const xData = randomArray(rows + width, rows * width);
            const wData = randomArray(outWidth + width, width * outWidth);
            const biasData = randomArray(outWidth, outWidth);
            const x = place(device, xData, [rows, width], { strides: [width + 2, 1] });
            const w = place(device, wData, [width, outWidth], { strides: [outWidth + 3, 1], offset: 8 });
            const bias = place(device, biasData, [outWidth]);
            const y = place(device, null, [rows, outWidth], { offset: 256 });
            const projection = normalizeProjection(x.tensor, w.tensor, bias.tensor);
            const tensors = { x: x.tensor, w: w.tensor, bias: bias.tensor, y: y.tensor };
            await runKernel(attention(), projectDispatch(projection, variant, 256), tensors);
            const expected = referenceProject(xData, wData, biasData, width, outWidth);
            expectAsGoodAsNaive(
              `y width ${width}`,
              await y.read(),
              expected,
              await naiveProject(device, xData, wData, biasData, width, outWidth),
            );
          }
        });
      }
    }
  });
};

onDevices('project', everyTile, ['default device']); // it needs no feature
