/** All options together, every broadcast of a mask and every type, against the reference; determinism; forced tiles. */
import { expect, test } from 'vitest';
import type { GpuTensor } from '../../src/index.ts';
import { type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices, place } from '../rig/gpu.ts';
import { type NaiveSizes, naiveAttention } from '../rig/naive.ts';
import { random, randomArray } from '../rig/random.ts';
import { tiersOf } from '../rig/tiers.ts';
import { expectAsGoodAsNaive, expectNear, LOWEST } from '../rig/tolerance.ts';

onDevices('options together', (attention) => {
  test.each(['raw', 'softcapped', 'masked', 'weights'] as const)('everything at once, %s, against the reference', async (returnScores) => {
    const { device } = attention();
    const sizes: NaiveSizes = { B: 2, H: 4, Hk: 2, N: 33, M: 70, D: 20, Dv: 36, scale: 0.4, softcap: 2 };
    const { B, H, Hk, N, M, D, Dv } = sizes;
    const data = { q: randomArray(1, B * H * N * D), k: randomArray(2, B * Hk * M * D, 2), v: randomArray(3, B * Hk * M * Dv) };
    const lengths = [70, 41];
    const draw = random(4);
    for (const [shape, kind] of [
      [[M], 'bool'],
      [[N, 1], 'bool'],
      [[H, 1, M], 'bool'],
      [[B, 1, N, M], 'bool'],
      [[1, 1], 'f32'],
      [[H, N, M], 'f32'],
      [[B, H, 1, M], 'f32'],
    ] as const) {
      const count = shape.reduce<number>((a, b) => a * b, 1);
      const maskData =
        kind === 'bool'
          ? Uint8Array.from({ length: count }, () => Number(draw() < 0.7))
          : randomArray(5, count).map((x) => (draw() < 0.2 ? LOWEST : x));
      const onDevice = {
        // packed [B,N,H·D] rows; k and v slices of a longer cache
        q: place(device, data.q, [B, H, N, D], { strides: [N * H * D, D, H * D, 1] }),
        k: place(device, data.k, [B, Hk, M, D], { strides: [Hk * (M + 9) * D, (M + 9) * D, D, 1], offset: 12 }),
        v: place(device, data.v, [B, Hk, M, Dv], { strides: [Hk * (M + 9) * Dv, (M + 9) * Dv, Dv, 1], offset: 4096 }),
        mask: place(device, maskData, shape, { dtype: kind, offset: 12 }),
        keyLengths: place(device, lengths, [B], { dtype: 'u32', offset: 8 }),
      };
      const options = { scale: sizes.scale, softcap: sizes.softcap, isCausal: true, causalOffset: 11, returnLse: true, returnScores };
      const tensors = [onDevice.q.tensor, onDevice.k.tensor, onDevice.v.tensor] as const;
      const result = await attention().scaledDotProductAttention(...tensors, {
        ...options,
        mask: onDevice.mask.tensor,
        keyLengths: onDevice.keyLengths.tensor,
      });

      const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
      const inputs = [host(data.q, B, H, N, D), host(data.k, B, Hk, M, D), host(data.v, B, Hk, M, Dv)] as const;
      const hostOptions: ReferenceOptions = {
        ...options,
        mask: { data: maskData, shape } as ReferenceOptions['mask'] & object,
        keyLengths: lengths,
      };
      const expected = scaledDotProductAttention(...inputs, hostOptions);
      const bias = Float32Array.from(
        scaledDotProductAttention(
          host(new Float32Array(B * H * N), B, H, N, 1),
          host(new Float32Array(B * Hk * M), B, Hk, M, 1),
          inputs[2],
          { ...hostOptions, returnScores: 'masked' },
        ).scores!.data,
      );
      const naive = await naiveAttention(device, sizes, data.q, data.k, data.v, bias);
      const unmasked = await naiveAttention(device, { ...sizes, softcap: returnScores === 'raw' ? 0 : 2 }, data.q, data.k, data.v);
      const naiveScores = { raw: unmasked.scores, softcapped: unmasked.scores, masked: naive.scores, weights: naive.weights }[returnScores];
      const on = attention();
      expectAsGoodAsNaive('out', (await on.download(result.out)).data, expected.out.data, naive.out);
      expectAsGoodAsNaive('lse', (await on.download(result.lse!)).data, expected.lse!.data, naive.lse);
      expectAsGoodAsNaive('scores', (await on.download(result.scores!)).data, expected.scores!.data, naiveScores);
      on.release(result.out, result.lse!, result.scores!);
    }
  });
});

onDevices('options together, in every tier', (attention) => {
  test('every option in every tier, against the reference, and the same bits twice', async () => {
    const on = attention();
    const [B, H, Hk, N, M, D, Dv] = [2, 4, 2, 37, 75, 20, 12];
    const shapes = [
      [B, H, N, D],
      [B, Hk, M, D],
      [B, Hk, M, Dv],
    ];
    const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    const data = shapes.map((shape, i) => randomArray(i + 1, count(shape)));
    const [maskData, slopes, sinks] = [
      randomArray(4, B * M).map((x) => (x < -0.7 ? LOWEST : x)),
      randomArray(5, H, 0.2),
      randomArray(6, H),
    ];
    const bands = { isCausal: true, window: [50, 9], causalOffset: 'lower-right' } as const;
    const plain = { ...bands, scale: 0.4, softcap: 3, dropout: { probability: 0.25, seed: 77 }, returnLse: true };
    const [q, k, v] = data.map((values, i) => on.upload(values, shapes[i]!)) as [GpuTensor, GpuTensor, GpuTensor];
    const given = {
      ...{ mask: on.upload(maskData, [B, 1, 1, M]), keyLengths: on.upload(Uint32Array.of(75, 61), [B]) },
      ...{ alibiSlopes: on.upload(slopes, [H]), sinks: on.upload(sinks, [H]) },
    };
    const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
    const [hostQ, hostK, hostV] = data.map((values, i) => host(values, ...shapes[i]!));
    const expected = scaledDotProductAttention(hostQ!, hostK!, hostV!, {
      ...plain,
      ...{ mask: host(maskData, B, 1, 1, M), keyLengths: [75, 61], alibiSlopes: host(slopes, H), sinks: host(sinks, H) },
    });
    for (const options of [{ algorithm: 'explicit' } as const, ...tiersOf(on.device).map(({ variant }) => ({ variant }))]) {
      const attend = async () => {
        const { out, lse } = await on.scaledDotProductAttention(q, k, v, { ...plain, ...given, ...options });
        const result = { out: (await on.download(out)).data, lse: (await on.download(lse!)).data };
        on.release(out, lse!);
        return result;
      };
      const first = await attend();
      for (const name of ['out', 'lse'] as const) {
        const what = `${JSON.stringify(options)}: ${name}`;
        expectNear(what, first[name], expected[name]!.data, (value) => 5e-6 * Math.max(1, Math.abs(value)));
      }
      expect(await attend(), JSON.stringify(options)).toEqual(first);
    }
    on.release(q, k, v, ...Object.values(given));
  });

  test('variant forces tiles', async () => {
    const on = attention();
    const tensors = [1, 2, 3].map((seed) => on.upload(randomArray(seed, 40 * 8), [1, 1, 40, 8])) as [GpuTensor, GpuTensor, GpuTensor];
    const variant = { scores: { TILE_N: 32 }, softmax: { LANES: 2 }, context: { TILE_M: 8 } };
    const [q, k, v] = tensors;
    const plan = await on.plan({ q, k, v, variant, algorithm: 'explicit' });
    expect(plan.kernels.map(({ name, variant: { TILE_N, LANES, TILE_M } }) => ({ name, TILE_N, LANES, TILE_M }))).toMatchObject([
      { name: 'scores', TILE_N: 32 },
      { name: 'softmax', LANES: 2 },
      { name: 'context', TILE_M: 8 },
    ]);
    const forced = await on.scaledDotProductAttention(...tensors, { variant, algorithm: 'explicit' });
    const chosen = await on.scaledDotProductAttention(...tensors);
    const [a, b] = [(await on.download(forced.out)).data, (await on.download(chosen.out)).data];
    expectNear('the forced one', a, b, 5e-6);
    on.release(...tensors, forced.out, chosen.out);
    plan.destroy();
  });
});
