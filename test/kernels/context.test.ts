import { describe, expect, test } from 'vitest';
import type { Attention } from '../../src/index.ts';
import { contextDispatch } from '../../src/kernels/context.ts';
import { context as referenceContext } from '../../src/reference/context.ts';
import { dropoutKeep } from '../../src/reference/dropout.ts';
import { onDevices, place } from '../rig/gpu.ts';
import { problemOf, runKernel } from '../rig/kernel.ts';
import { naiveContext } from '../rig/naive.ts';
import { random, randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

const ALONE = { GROUPED: false, DIRECT: false, SLOTS: 1 };
const SMALL = { TILE_N: 16, TILE_DV: 16, TILE_M: 16, ROWS: 1, COLS: 1, SKIP_ZEROS: true, ...ALONE };
const LARGE = { TILE_N: 64, TILE_DV: 64, TILE_M: 16, ROWS: 2, COLS: 2, SKIP_ZEROS: false, ...ALONE };
const SOFTWARE = { TILE_N: 64, TILE_DV: 64, TILE_M: 16, ROWS: 4, COLS: 2, SKIP_ZEROS: false, ...ALONE };
const INTEL = { TILE_N: 32, TILE_DV: 32, TILE_M: 16, ROWS: 1, COLS: 1, SKIP_ZEROS: false, ...ALONE };
const LARGEST = { TILE_N: 64, TILE_DV: 128, TILE_M: 16, ROWS: 4, COLS: 4, SKIP_ZEROS: true, ...ALONE };
const TALL = { TILE_N: 32, TILE_DV: 16, TILE_M: 8, ROWS: 2, COLS: 1, SKIP_ZEROS: true, ...ALONE };
const WIDE = { TILE_N: 16, TILE_DV: 32, TILE_M: 8, ROWS: 1, COLS: 2, SKIP_ZEROS: false, ...ALONE };
/** Of few queries, where query heads share a tile. */
const FEW = {
  'on a GPU': { TILE_N: 8, TILE_DV: 32, TILE_M: 4, ROWS: 1, COLS: 1, GROUPED: true, DIRECT: true, SLOTS: 16 },
  'on a software device': { TILE_N: 16, TILE_DV: 64, TILE_M: 64, ROWS: 4, COLS: 2, GROUPED: true, DIRECT: true, SLOTS: 1 },
  'three slots, the largest blocks': {
    TILE_N: 8,
    TILE_DV: 16,
    TILE_M: 5,
    ROWS: 2,
    COLS: 4,
    GROUPED: true,
    DIRECT: true,
    SLOTS: 3,
  },
  'shared memory, two tiles': { TILE_N: 4, TILE_DV: 16, TILE_M: 16, ROWS: 1, COLS: 1, GROUPED: true, DIRECT: false, SLOTS: 1 },
};

const everyTile = (attention: () => Attention) => {
  test('2×2 by hand', async () => {
    // weights [0.5 0.5; 0 1], v = [1 2; 3 4]: out = [2 3; 3 4]
    const { device } = attention();
    const weights = place(device, [0.5, 0.5, 0, 1], [1, 1, 2, 2], { offset: 256 });
    const v = place(device, [1, 2, 3, 4], [1, 1, 2, 2]);
    const out = place(device, null, [1, 1, 2, 2]);
    const problem = problemOf({ N: 2, M: 2, Dv: 2 }, { v: v.tensor, out: out.tensor });
    await runKernel(attention(), contextDispatch(problem, SMALL, 256), { weights: weights.tensor, v: v.tensor, out: out.tensor });
    expect([...(await out.read())]).toEqual([2, 3, 3, 4]);
  });

  test('a weight of 0 skips its value', async () => {
    const { device } = attention();
    const weights = place(device, [1, 0, 0, 1], [1, 1, 2, 2], { offset: 256 });
    const v = place(device, [7, Infinity], [1, 1, 2, 1]);
    const out = place(device, null, [1, 1, 2, 1]);
    const problem = problemOf({ N: 2, M: 2 }, { v: v.tensor, out: out.tensor });
    await runKernel(attention(), contextDispatch(problem, SMALL, 256), { weights: weights.tensor, v: v.tensor, out: out.tensor });
    expect((await out.read())[0]).toBe(7);
  });

  describe.each([
    ['small', SMALL, [1, 15, 16, 17]],
    ['large', LARGE, [63, 64, 65, 131]],
    ['largest', LARGEST, [65, 131]],
    ['software', SOFTWARE, [65]],
    ['intel', INTEL, [33]],
    ['tall', TALL, [31, 33]],
    ['wide', WIDE, [15, 37]],
  ] as const)('%s tiles', (_, variant, lengths) => {
    for (const N of lengths) {
      for (const Dv of lengths) {
        test(`N ${N}, Dv ${Dv}`, async () => {
          const { device } = attention();
          for (const M of [1, 7, 8, 16, 17, 67]) {
            const sizes = { B: 2, H: 4, Hk: 2, N, M, D: 1, Dv, scale: 1, softcap: 0 };
            const drop = random(M);
            const weightsData = randomArray(N + M, 2 * 4 * N * M).map((weight) => (drop() < 0.2 ? 0 : Math.abs(weight)));
            const vData = randomArray(M + Dv, 2 * 2 * M * Dv, 2);
            const weights = place(device, weightsData, [2, 4, N, M], { offset: 256 });
            // v with a gap after each row, out as a [B,N,H,Dv] view
            const v = place(device, vData, [2, 2, M, Dv], { strides: [2 * M * (Dv + 1), M * (Dv + 1), Dv + 1, 1] });
            const out = place(device, null, [2, 4, N, Dv], { strides: [N * 4 * Dv, Dv, 4 * Dv, 1] });
            const problem = problemOf(sizes, { v: v.tensor, out: out.tensor });
            await runKernel(attention(), contextDispatch(problem, variant, 256), { weights: weights.tensor, v: v.tensor, out: out.tensor });
            const expected = referenceContext(problem, weightsData, vData);
            expectAsGoodAsNaive(`out M ${M}`, await out.read(), expected, await naiveContext(device, sizes, weightsData, vData));
          }
        });
      }
    }
  });
};

/** Where heads share a tile each query still has its own keys and its own dropout. */
const fewQueries = (attention: () => Attention) => {
  describe.each(Object.entries(FEW))('few queries, %s', (_, tiles) => {
    test.each([
      [1, 70, false],
      [2, 70, true],
      [5, 33, true],
      [3, 3, false],
    ])('%d over %d keys, dropout: %s', async (N, M, drops) => {
      const { device } = attention();
      const [B, H, Hk, Dv] = [2, 8, 2, 37];
      const sizes = { B, H, Hk, N, M, D: 1, Dv, scale: 1, softcap: 0 };
      const lengths = [M - 1, Math.ceil(M / 2)];
      const dropout = drops ? { probability: 0.25, seed: 2 ** 33 + 5 } : undefined;
      const vData = randomArray(M + Dv, B * Hk * M * Dv, 2);
      const v = place(device, vData, [B, Hk, M, Dv]);
      const out = place(device, null, [B, H, N, Dv], { strides: [N * H * Dv, Dv, H * Dv, 1] });
      const band = { window: [20, 1] as const, causalOffset: 'lower-right' as const };
      const problem = problemOf(sizes, { v: v.tensor, out: out.tensor, keyLengths: true, ...band, ...(dropout && { dropout }) });
      // Weights as the softmax leaves them: 0 where a query does not see the key. What lies beyond is not loaded.
      const visible = randomArray(N + M, B * H * N * M).map((weight, i) => {
        const position = (Math.floor(i / M) % N) + lengths[Math.floor(i / (H * N * M))]! - N;
        const isVisible = i % M < lengths[Math.floor(i / (H * N * M))]! && i % M >= position - 20 && i % M <= position + 1;
        return isVisible ? Math.abs(weight) : 0;
      });
      const weights = place(device, visible, [B, H, N, M], { offset: 256 });
      const key_lengths = attention().upload(new Uint32Array(lengths), [B]);
      const variant = { ...tiles, SKIP_ZEROS: true, DROPOUT: drops };
      const tensors = { weights: weights.tensor, v: v.tensor, out: out.tensor, key_lengths };
      await runKernel(attention(), contextDispatch(problem, variant, 256), tensors);
      const keep = dropout ? dropoutKeep(dropout, B * H, N, M) : undefined;
      const kept = keep ? visible.map((weight, i) => (keep[i]! * weight) / 0.75) : visible;
      const expected = referenceContext(problem, kept, vData);
      expectAsGoodAsNaive('out', await out.read(), expected, await naiveContext(device, sizes, Float32Array.from(kept), vData));
      attention().release(key_lengths);
    });
  });
};

onDevices('context', everyTile, ['default device']); // it needs no feature
onDevices('context', fewQueries, ['default device']);
