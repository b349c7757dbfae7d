/** The whole of attention against the reference, over sizes that straddle every tile, with poisoned surroundings. */
import { expect, test } from 'vitest';
import { scaledDotProductAttention } from '../src/reference/index.ts';
import { onDevices, place, runPass } from './rig/gpu.ts';
import { type NaiveSizes, naiveAttention } from './rig/naive.ts';
import { randomArray } from './rig/random.ts';
import { firstTiersOf } from './rig/tiers.ts';
import { expectAsGoodAsNaive, greatestError } from './rig/tolerance.ts';

const LENGTHS = [1, 2, 3, 17, 63, 64, 65, 129, 257];
const HEAD_SIZES = [1, 3, 16, 64, 80, 128];

/** Every pair of N and M, with head sizes such that every pair of two of the four occurs. */
function pairwise(): { N: number; M: number; D: number; Dv: number }[] {
  const covered = new Set<string>();
  const pairs = (c: { N: number; M: number; D: number; Dv: number }) => [
    `DDv ${c.D} ${c.Dv}`,
    `ND ${c.N} ${c.D}`,
    `MD ${c.M} ${c.D}`,
    `NDv ${c.N} ${c.Dv}`,
    `MDv ${c.M} ${c.Dv}`,
  ];
  const cases = [];
  for (const N of LENGTHS) {
    for (const M of LENGTHS) {
      const options = HEAD_SIZES.flatMap((D) => HEAD_SIZES.map((Dv) => ({ N, M, D, Dv })));
      const news = (c: (typeof options)[number]) => pairs(c).filter((pair) => !covered.has(pair)).length;
      const best = options.reduce((a, b) => (news(b) > news(a) ? b : a));
      for (const pair of pairs(best)) covered.add(pair);
      cases.push(best);
    }
  }
  const missing = HEAD_SIZES.flatMap((D) => [
    ...HEAD_SIZES.map((Dv) => `DDv ${D} ${Dv}`),
    ...LENGTHS.flatMap((L) => [`ND ${L} ${D}`, `MD ${L} ${D}`, `NDv ${L} ${D}`, `MDv ${L} ${D}`]),
  ]);
  expect(missing.filter((pair) => !covered.has(pair))).toEqual([]);
  return cases;
}

onDevices('attention', (attention) => {
  test.each(pairwise())('N $N, M $M, D $D, Dv $Dv', async ({ N, M, D, Dv }) => {
    const { device } = attention();
    const H = 2 * Math.ceil(32 / (N * Dv)); // 64 elements of out at least: a naive result of fewer may be right by luck
    const isLarge = M === 17 || N === 65; // logits up to ±1e4
    const sizes: NaiveSizes = { B: 1, H, Hk: 1, N, M, D, Dv, scale: isLarge ? 1e4 / D : 1 / Math.sqrt(D), softcap: 0 };
    const qData = randomArray(N, H * N * D);
    const kData = randomArray(M, M * D);
    const vData = randomArray(N + M, M * Dv);
    const q = place(device, qData, [1, H, N, D]);
    const k = place(device, kData, [1, 1, M, D], { strides: [M * (D + 2), M * (D + 2), D + 2, 1] });
    const v = place(device, vData, [1, 1, M, Dv], { offset: 40 });
    const out = place(device, null, [1, H, N, Dv], { strides: [N * H * Dv, Dv, H * Dv, 1] });
    const lse = place(device, null, [1, H, N], { offset: 256 });
    const scores = place(device, null, [1, H, N, M], { offset: 512 });
    const problem = {
      q: q.tensor,
      k: k.tensor,
      v: v.tensor,
      out: out.tensor,
      scale: sizes.scale,
      returnLse: true,
      returnScores: 'weights' as const,
    };
    const plan = await attention().plan(problem);
    const tensors = { q: q.tensor, k: k.tensor, v: v.tensor, out: out.tensor, lse: lse.tensor, scores: scores.tensor };
    await runPass(device, (pass) => plan.encode(pass, tensors));
    plan.destroy();
    const fused = await Promise.all(
      firstTiersOf(device).map(async ({ kernel: tier, variant: forced }) => {
        const one = Math.max(D, Dv) > 64 ? { [`${tier}.ROWS`]: 1 } : {}; // more rows of long heads compile slowly
        const variant = tier === 'flash_decode' ? forced : { [`${tier}.SKIP_ZEROS`]: true, ...(tier === 'flash_forward_row' && one) };
        const plan = await attention().plan({ ...problem, returnScores: undefined, algorithm: 'fused', variant });
        const tierOut = place(device, null, [1, H, N, Dv], { strides: [N * H * Dv, Dv, H * Dv, 1] });
        const tierLse = place(device, null, [1, H, N], { offset: 256 });
        expect(plan.kernels[0]!.name).toBe(tier);
        const workspace =
          plan.workspaceBytes > 0 ? device.createBuffer({ size: plan.workspaceBytes, usage: GPUBufferUsage.STORAGE }) : undefined;
        await runPass(device, (pass) =>
          plan.encode(pass, { ...tensors, scores: undefined, out: tierOut.tensor, lse: tierLse.tensor, workspace }),
        );
        plan.destroy();
        return { tier, out: await tierOut.read(), lse: await tierLse.read() };
      }),
    );

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
    const weights = await scores.read();
    expectAsGoodAsNaive('out', await out.read(), expected.out.data, naive.out);
    expectAsGoodAsNaive('weights', weights, expected.scores!.data, naive.weights);
    expectAsGoodAsNaive('lse', await lse.read(), expected.lse!.data, naive.lse, scoresError);
    for (const { tier, ...got } of fused) {
      expectAsGoodAsNaive(`${tier} out`, got.out, expected.out.data, naive.out);
      expectAsGoodAsNaive(`${tier} lse`, got.lse, expected.lse!.data, naive.lse, scoresError);
    }
    checkDistribution(weights, expected.scores!.data, M);
  });
});

/** Weights are ≥ 0, above 0 within 80 of the row's maximum, and each row sums to 1 within 1e-6. */
function checkDistribution(weights: Float32Array, expected: ArrayLike<number>, M: number): void {
  for (let start = 0; start < weights.length; start += M) {
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
