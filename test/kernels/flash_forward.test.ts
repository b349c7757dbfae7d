/** The whole of attention against the reference, over sizes that straddle every tile, with poisoned surroundings. */
import { expect, test } from 'vitest';
import type { AttentionOptions } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices, place, runPass } from '../rig/gpu.ts';
import { type NaiveSizes, naiveAttention } from '../rig/naive.ts';
import { randomArray } from '../rig/random.ts';
import { firstTiersOf, runsPlainKernels, WIDE_TILES } from '../rig/tiers.ts';
import { expectAsGoodAsNaive, greatestError } from '../rig/tolerance.ts';

const LENGTHS = [1, 2, 3, 17, 63, 64, 65, 129, 257];
const HEAD_SIZES = [1, 3, 16, 64, 80, 128];

/** Every pair of N and M. Dv is D or, for every other pair of lengths, the size after it, in a ring: other pairs compile more pipelines, and are the fuzzer's. */
const CASES = LENGTHS.flatMap((N, i) =>
  LENGTHS.map((M, j) => {
    const size = (at: number) => HEAD_SIZES[at % HEAD_SIZES.length]!;
    return { N, M, D: size(i + j), Dv: size(i + j + (Math.floor(i / 2) % 2)) };
  }),
);

test('each length of queries and of keys meets each D and each Dv', () => {
  const pairs = CASES.flatMap(({ N, M, D, Dv }) => [`N ${N} D ${D}`, `N ${N} Dv ${Dv}`, `M ${M} D ${D}`, `M ${M} Dv ${Dv}`]);
  expect(new Set(pairs).size).toBe(4 * LENGTHS.length * HEAD_SIZES.length);
});

onDevices('attention', (attention) => {
  test.each(CASES)('N $N, M $M, D $D, Dv $Dv', async ({ N, M, D, Dv }) => {
    const { device } = attention();
    const H = 2 * Math.ceil(32 / (N * Dv)); // 64 elements of out at least: a naive result of fewer may be right by luck
    const isLarge = M === 17 || N === 65; // logits up to ±1e4
    const sizes: NaiveSizes = { B: 1, H, Hk: 1, N, M, D, Dv, scale: isLarge ? 1e4 / D : 1 / Math.sqrt(D), softcap: 0 };
    const qData = randomArray(N, H * N * D);
    const kData = randomArray(M, M * D);
    const vData = randomArray(N + M, M * Dv);
    const isWhole = M === 64; // rows of whole vec4, where D and Dv are multiples of 4
    const aligned = isWhole ? { offset: 256 + 16 } : {};
    const keyRow = D + (isWhole ? 4 : 2);
    const q = place(device, qData, [1, H, N, D], aligned);
    const k = place(device, kData, [1, 1, M, D], { strides: [M * keyRow, M * keyRow, keyRow, 1], ...aligned });
    const v = place(device, vData, [1, 1, M, Dv], { offset: isWhole ? 48 : 40 });
    const inputs = { q: q.tensor, k: k.tensor, v: v.tensor };
    const layout = [N * H * Dv, Dv, H * Dv, 1];

    /** Runs what these options choose, and that is the kernel at first. */
    const run = async (kernel: string, chosen: AttentionOptions) => {
      const out = place(device, null, [1, H, N, Dv], { strides: layout, ...aligned });
      const lse = place(device, null, [1, H, N], { offset: 256 });
      const scores = chosen.returnScores ? place(device, null, [1, H, N, M], { offset: 512 }) : undefined;
      const plan = await attention().plan({ ...inputs, out: out.tensor, scale: sizes.scale, returnLse: true, ...chosen });
      expect(plan.kernels[0]!.name).toBe(kernel);
      const workspace =
        plan.workspaceBytes > 0 ? device.createBuffer({ size: plan.workspaceBytes, usage: GPUBufferUsage.STORAGE }) : undefined;
      const tensors = { ...inputs, out: out.tensor, lse: lse.tensor, scores: scores?.tensor, workspace };
      await runPass(device, (pass) => plan.encode(pass, tensors));
      plan.destroy();
      return { kernel, out: await out.read(), lse: await lse.read(), weights: await scores?.read() };
    };
    const results = await Promise.all([
      ...(runsPlainKernels(device) ? [run('scores', { returnScores: 'weights' })] : []),
      ...(runsPlainKernels(device) && M > 128 ? [run('flash_forward', { algorithm: 'fused', variant: WIDE_TILES })] : []), // more than one tile
      ...firstTiersOf(device).map(({ kernel, variant }) => {
        const isSlow = kernel === 'flash_forward_row' && Math.max(D, Dv) > 64; // to compile, with more than one row
        const hasTails = !isWhole && (kernel === 'flash_forward_row' || kernel === 'flash_decode');
        const tails = hasTails ? { D_TAIL: true, DV_TAIL: true } : {}; // fewer pipelines
        const tiles = { [kernel]: { SKIP_ZEROS: true, ...tails, ...(isSlow && { ROWS: 1 }) } };
        const shared = { flash_decode: { ...variant.flash_decode, ...tails, BAND: true } }; // its own test has those without
        return run(kernel, { algorithm: 'fused', variant: kernel === 'flash_decode' ? shared : tiles });
      }),
    ]);

    const host = (data: Float32Array, ...shape: number[]) => ({ data, shape });
    const { scale } = sizes;
    const options = { scale, returnLse: true, returnScores: 'weights' } as const;
    const expected = scaledDotProductAttention(host(qData, 1, H, N, D), host(kData, 1, 1, M, D), host(vData, 1, 1, M, Dv), options);
    const naive = await naiveAttention(device, sizes, qData, kData, vData);
    const exactScores = scaledDotProductAttention(host(qData, 1, H, N, D), host(kData, 1, 1, M, D), host(vData, 1, 1, M, Dv), {
      scale,
      returnScores: 'raw',
    });
    const scoresError = greatestError(naive.scores, exactScores.scores!.data);
    for (const { kernel, out, lse, weights } of results) {
      expectAsGoodAsNaive(`${kernel} out`, out, expected.out.data, naive.out);
      expectAsGoodAsNaive(`${kernel} lse`, lse, expected.lse!.data, naive.lse, scoresError);
      if (!weights) continue;
      expectAsGoodAsNaive('weights', weights, expected.scores!.data, naive.weights);
      expectDistribution(weights, expected.scores!.data, M);
    }
  });
});

/** Weights are ≥ 0, above 0 within 80 of the row's maximum, and each row sums to 1 within 1e-6. */
function expectDistribution(weights: Float32Array, expected: ArrayLike<number>, M: number): void {
  expect(weights.length).toBe(expected.length);
  for (let start = 0; start < expected.length; start += M) {
    const row = weights.subarray(start, start + M);
    const sum = row.reduce((total, weight) => total + weight, 0); // a double
    expect(Math.abs(sum - 1), `row ${start / M} sums to ${sum}`).toBeLessThanOrEqual(1e-6);
    const largest = Math.max(...Array.from({ length: M }, (_, m) => expected[start + m]!));
    for (let m = 0; m < M; m++) {
      const isNear = expected[start + m]! / largest >= Math.exp(-80);
      if (!(row[m]! >= 0) || (isNear && row[m] === 0)) expect.fail(`weight ${start + m} is ${row[m]}, expected ${expected[start + m]}`);
    }
  }
}
