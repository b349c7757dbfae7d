import { describe, expect, test } from 'vitest';
import type { Attention } from '../../src/index.ts';
import { scoresDispatch } from '../../src/kernels/scores.ts';
import { LOWEST as REFERENCE_LOWEST, scores as referenceScores } from '../../src/reference/scores.ts';
import { onDevices, place } from '../rig/gpu.ts';
import { problemOf, runKernel } from '../rig/kernel.ts';
import { type NaiveSizes, naiveScores } from '../rig/naive.ts';
import { randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive, LOWEST } from '../rig/tolerance.ts';

const ALONE = { GROUPED: false, DIRECT: false };
const SMALL = { TILE_N: 16, TILE_M: 16, TILE_D: 16, ROWS: 1, COLS: 1, TILES: 2, ...ALONE };
const LARGE = { TILE_N: 64, TILE_M: 64, TILE_D: 16, ROWS: 2, COLS: 2, TILES: 1, ...ALONE };
const SOFTWARE = { TILE_N: 64, TILE_M: 64, TILE_D: 16, ROWS: 4, COLS: 2, TILES: 1, ...ALONE };
const INTEL = { TILE_N: 32, TILE_M: 32, TILE_D: 16, ROWS: 1, COLS: 1, TILES: 1, ...ALONE };
const LARGEST = { TILE_N: 64, TILE_M: 128, TILE_D: 16, ROWS: 4, COLS: 4, TILES: 2, ...ALONE };
const TALL = { TILE_N: 32, TILE_M: 16, TILE_D: 8, ROWS: 2, COLS: 1, TILES: 3, ...ALONE };
const WIDE = { TILE_N: 16, TILE_M: 32, TILE_D: 8, ROWS: 1, COLS: 2, TILES: 2, ...ALONE };
/** Of few queries, where query heads share a tile. */
const FEW = {
  'on a GPU': { TILE_N: 8, TILE_M: 128, TILE_D: 16, ROWS: 1, COLS: 1, TILES: 1, GROUPED: true, DIRECT: false },
  'on a software device': { TILE_N: 16, TILE_M: 64, TILE_D: 16, ROWS: 4, COLS: 2, TILES: 2, GROUPED: true, DIRECT: true },
  'direct, the largest blocks': { TILE_N: 8, TILE_M: 32, TILE_D: 8, ROWS: 2, COLS: 4, TILES: 1, GROUPED: true, DIRECT: true },
  'direct, two rows of invocations': { TILE_N: 8, TILE_M: 16, TILE_D: 16, ROWS: 1, COLS: 1, TILES: 1, GROUPED: true, DIRECT: true },
};
const ALIGNMENT = 256;

const everyTile = (attention: () => Attention) => {
  test('2×2 by hand', async () => {
    // q = [1 0; 0 2], k = [1 2; 3 4]: q kᵀ = [1 3; 4 8], halved
    const { device } = attention();
    const q = place(device, [1, 0, 0, 2], [1, 1, 2, 2]);
    const k = place(device, [1, 2, 3, 4], [1, 1, 2, 2]);
    const scores = place(device, null, [1, 1, 2, 2], { offset: 256 });
    const problem = problemOf({ N: 2, M: 2, D: 2 }, { q: q.tensor, k: k.tensor, scale: 0.5 });
    await runKernel(attention(), scoresDispatch(problem, SMALL, ALIGNMENT, 'masked'), { q: q.tensor, k: k.tensor, scores: scores.tensor });
    expect([...(await scores.read())]).toEqual([0.5, 1.5, 2, 4]);
  });

  test('an additive mask from −3e38 down excludes, and nothing above it', async () => {
    const { device } = attention();
    const masks = [-Infinity, LOWEST, Math.fround(-3e38), Math.fround(-2.9999e38), -5, 0];
    const q = place(device, [1], [1, 1, 1, 1]);
    const k = place(device, [1, 2, 3, 4, 5, 6], [1, 1, 6, 1]);
    const mask = place(device, masks, [6]);
    const scores = place(device, null, [1, 1, 1, 6], { offset: 256 });
    const problem = problemOf({ N: 1, M: 6 }, { q: q.tensor, k: k.tensor, mask: mask.tensor });
    const tensors = { q: q.tensor, k: k.tensor, mask: mask.tensor, scores: scores.tensor };
    await runKernel(attention(), scoresDispatch(problem, SMALL, ALIGNMENT, 'masked'), tensors);
    expect([...(await scores.read())]).toEqual([LOWEST, LOWEST, LOWEST, Math.fround(-2.9999e38), 0, 6]);
    expect(LOWEST).toBe(REFERENCE_LOWEST);
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
      for (const M of lengths) {
        test(`N ${N}, M ${M}`, async () => {
          const { device } = attention();
          for (const D of [1, 15, 16, 17, 67]) {
            const sizes = { B: 2, H: 2, Hk: 1, N, M, D, Dv: 1, scale: -0.7, softcap: N === M ? 3 : 0 };
            const qData = randomArray(N + D, 2 * 2 * N * D);
            const kData = randomArray(M + D, 2 * M * D, 2);
            // q as a [B,N,H,D] view with a gap after each row, k as a slice of a longer cache
            const q = place(device, qData, [2, 2, N, D], { strides: [N * 2 * (D + 3), D + 3, 2 * (D + 3), 1] });
            const k = place(device, kData, [2, 1, M, D], { strides: [(M + 5) * D, (M + 5) * D, D, 1], offset: 4 });
            const scores = place(device, null, [2, 2, N, M], { offset: 256 });
            const problem = problemOf(sizes, { q: q.tensor, k: k.tensor, scale: sizes.scale, softcap: sizes.softcap });
            await runKernel(attention(), scoresDispatch(problem, variant, ALIGNMENT, 'masked'), {
              q: q.tensor,
              k: k.tensor,
              scores: scores.tensor,
            });
            const expected = referenceScores(problem, { q: qData, k: kData });
            expectAsGoodAsNaive(`scores D ${D}`, await scores.read(), expected, await naiveScores(device, sizes, qData, kData));
          }
        });
      }
    }
  });
};

/** Where heads share a tile each query still has its own keys and slope. */
const fewQueries = (attention: () => Attention) => {
  describe.each(Object.entries(FEW))('few queries, %s', (_, variant) => {
    test.each([1, 2, 5])('%d, with every option that depends on the query or its head', async (N) => {
      const { device } = attention();
      const [B, H, Hk, M, D] = [2, 8, 2, 70, 19];
      const sizes = { B, H, Hk, N, M, D, Dv: 1, scale: 0.3, softcap: 0 };
      const [qData, kData] = [randomArray(N, B * H * N * D), randomArray(M, B * Hk * M * D, 2)];
      const maskData = randomArray(N + M, B * H * N * M).map((value) => (value > 0.9 ? -Infinity : value));
      const slopes = [0.5, 1, 0.25, 0.125, 2, 0.75, 0.0625, 1.5];
      const lengths = [M - 3, 40];
      const q = place(device, qData, [B, H, N, D], { strides: [N * H * D, D, H * D, 1] });
      const k = place(device, kData, [B, Hk, M, D]);
      const mask = place(device, maskData, [B, H, N, M]);
      const scores = place(device, null, [B, H, N, M], { offset: 256 });
      const inputs = { key_lengths: attention().upload(new Uint32Array(lengths), [B]), heads: attention().upload(slopes, [H]) };
      const band = { window: [30, 1] as const, causalOffset: 'lower-right' as const };
      const given = { q: q.tensor, k: k.tensor, mask: mask.tensor, keyLengths: true, alibiSlopes: true };
      const problem = problemOf(sizes, { ...given, ...band, scale: sizes.scale });
      const tensors = { q: q.tensor, k: k.tensor, mask: mask.tensor, scores: scores.tensor, ...inputs };
      await runKernel(attention(), scoresDispatch(problem, variant, ALIGNMENT, 'masked'), tensors);
      const expected = referenceScores(problem, { q: qData, k: kData, mask: maskData, keyLengths: lengths, alibiSlopes: slopes });
      const bias = expected.map((value, i) => (value <= LOWEST ? LOWEST : value - plainScore(sizes, qData, kData, i)));
      const naive = await naiveScores(device, sizes, qData, kData, Float32Array.from(bias));
      expectAsGoodAsNaive('scores', await scores.read(), expected, naive);
      attention().release(...Object.values(inputs));
    });
  });
};

/** scale · q·k of an element of [B,H,N,M]. */
function plainScore({ H, Hk, N, M, D, scale }: NaiveSizes, q: ArrayLike<number>, k: ArrayLike<number>, i: number): number {
  const row = Math.floor(i / M);
  const head = Math.floor(row / N);
  const key = (Math.floor((head * Hk) / H) * M + (i % M)) * D;
  let sum = 0;
  for (let d = 0; d < D; d++) sum += q[row * D + d]! * k[key + d]!;
  return scale * sum;
}

onDevices('scores', everyTile, ['default device']); // it needs no feature
onDevices('scores', fewQueries, ['default device']);
