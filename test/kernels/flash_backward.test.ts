/** The gradients of attention against the reference, over sizes that straddle every tile, with poisoned surroundings. */
import { test } from 'vitest';
import { backward, scaledDotProductAttention } from '../../src/reference/index.ts';
import { backwardTiersOf, skippingZeros } from '../rig/backward-tiers.ts';
import { onDevices, place, runPass } from '../rig/gpu.ts';
import type { NaiveSizes } from '../rig/naive.ts';
import { naiveBackward } from '../rig/naive-backward.ts';
import { randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

/** N, M, D, Dv, H, Hk: around the tiles of 16, 32 and 128, and primes. Head sizes of the same blocks share pipelines, but those that fill them; of N 16, 32, 48 and 64 dkv looks for no zeros, nor dq where M is a multiple of 4. */
const SIZES = [
  [1, 1, 1, 1, 1, 1],
  [1, 33, 16, 3, 2, 1],
  [2, 31, 3, 17, 2, 2],
  [15, 32, 33, 15, 4, 2],
  [16, 17, 31, 65, 2, 1],
  [17, 16, 64, 16, 6, 2],
  [31, 15, 17, 31, 2, 1],
  [32, 32, 32, 32, 1, 1],
  [33, 1, 5, 7, 2, 1],
  [37, 67, 30, 80, 2, 1],
  [48, 20, 20, 12, 2, 1],
  [64, 65, 128, 33, 2, 1],
  [65, 64, 129, 128, 2, 1],
  [67, 37, 64, 129, 3, 1],
  [97, 101, 64, 64, 4, 2],
  [34, 35, 257, 80, 2, 1],
  [35, 34, 80, 256, 2, 2],
] as const;

onDevices('backward', (attention) => {
  test.each(SIZES)('N %d, M %d, D %d, Dv %d, heads %d and %d', async (N, M, D, Dv, H, Hk) => {
    const { device } = attention();
    const width = Math.max(D, Dv);
    const B = N % 2 === 0 ? 1 : 2;
    const sizes: NaiveSizes = { B, H, Hk, N, M, D, Dv, scale: 1 / Math.sqrt(D), softcap: 0 };
    const data = {
      q: randomArray(N, B * H * N * D, 2),
      k: randomArray(M, B * Hk * M * D, 2),
      v: randomArray(N + M, B * Hk * M * Dv),
      gradient: randomArray(D, B * H * N * Dv),
    };
    const isWhole = N === 32 || N === 97; // rows of whole vec4
    const aligned = isWhole ? { offset: 256 + 16 } : {};
    const [keyRow, dvRow] = isWhole ? [D + 4, Dv + 4] : [D + 2, Dv + 3];
    const q = place(device, data.q, [B, H, N, D], aligned);
    const k = place(device, data.k, [B, Hk, M, D], { strides: [Hk * M * keyRow, M * keyRow, keyRow, 1], ...aligned });
    const v = place(device, data.v, [B, Hk, M, Dv], { offset: isWhole ? 48 : 40 });
    const gradient = place(device, data.gradient, [B, H, N, Dv], { strides: [N * H * Dv, Dv, H * Dv, 1], offset: isWhole ? 16 : 8 });
    const out = place(device, null, [B, H, N, Dv], { strides: [N * H * Dv, Dv, H * Dv, 1] });
    const lse = place(device, null, [B, H, N], { offset: 256 });
    const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
    const given = { q: host(data.q, B, H, N, D), k: host(data.k, B, Hk, M, D), v: host(data.v, B, Hk, M, Dv) };
    const exact = scaledDotProductAttention(given.q, given.k, given.v, { returnLse: true });
    const expected = backward(host(data.gradient, B, H, N, Dv), { ...given, out: exact.out, lse: exact.lse! });
    const naive = await naiveBackward(device, sizes, data.q, data.k, data.v, data.gradient);
    for (const { name, variant, alikeForward } of backwardTiersOf(device, width, width <= 32 ? 2 : 1)) {
      const dq = place(device, null, [B, H, N, D], { strides: [N * H * D, D, H * D, 1], offset: isWhole ? 16 : 4 });
      const dk = place(device, null, [B, Hk, M, D], { offset: 512 + 16 });
      const dv = place(device, null, [B, Hk, M, Dv], { strides: [Hk * M * dvRow, M * dvRow, dvRow, 1], offset: isWhole ? 16 : 12 });
      const plan = await attention().plan({
        ...{ q: q.tensor, k: k.tensor, v: v.tensor, out: out.tensor, scale: sizes.scale },
        variant: { ...alikeForward, ...(N % 16 > 0 ? skippingZeros(variant) : variant) },
        backward: { gradient: gradient.tensor, dq: dq.tensor, dk: dk.tensor, dv: dv.tensor },
      });
      const inputs = { q: q.tensor, k: k.tensor, v: v.tensor, out: out.tensor, lse: lse.tensor };
      const gradients = { gradient: gradient.tensor, dq: dq.tensor, dk: dk.tensor, dv: dv.tensor };
      const workspace = device.createBuffer({ size: plan.workspaceBytes, usage: GPUBufferUsage.STORAGE });
      await runPass(device, (pass) => {
        plan.encode(pass, { ...inputs, workspace });
        plan.encodeBackward(pass, { ...inputs, ...gradients, workspace });
      });
      plan.destroy();
      // Of a single key dS is dO·v − dO·out, two sums of the same Dv terms, each at most 1: exactly 0 where their orders agree, as in the naive one.
      const cancelled = M === 1 ? (2 * Dv * sizes.scale) / 2 ** 24 : 0;
      expectAsGoodAsNaive(`${name} dq`, await dq.read(), expected.q.data, naive.q, cancelled);
      expectAsGoodAsNaive(`${name} dk`, await dk.read(), expected.k.data, naive.k, cancelled);
      expectAsGoodAsNaive(`${name} dv`, await dv.read(), expected.v.data, naive.v);
    }
  });
});
