/** flash_decode by itself: sizes around its steps and splits, what lies where no row looks, its workspace. Options: test/contract, in every tier. */
import { expect, test } from 'vitest';
import type { Attention, AttentionOptions, GpuTensor } from '../../src/index.ts';
import { flashDecodeDispatch } from '../../src/kernels/flash_decode.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { basicFacts } from '../../src/tiles/facts.ts';
import { chooseFusedTiles } from '../../src/tiles/fused.ts';
import { onDevices, place, runPass } from '../rig/gpu.ts';
import { problemOf } from '../rig/kernel.ts';
import { type NaiveSizes, naiveAttention } from '../rig/naive.ts';
import { randomArray } from '../rig/random.ts';
import { tiersOf } from '../rig/tiers.ts';
import { expectAsGoodAsNaive, greatestError, LOWEST } from '../rig/tolerance.ts';

type Variant = NonNullable<AttentionOptions['variant']>;

/** H, Hk, N, M, D, Dv: one to many rows, keys around a step of 8, 16 or 32 and its multiples, heads that fill their blocks and do not. */
const SIZES = [
  [1, 1, 1, 1, 64, 64],
  [2, 1, 1, 3, 7, 5],
  [2, 2, 1, 7, 64, 64],
  [4, 1, 1, 8, 64, 64],
  [8, 2, 1, 9, 64, 20],
  [3, 1, 2, 15, 16, 80],
  [1, 1, 3, 16, 80, 64],
  [5, 1, 1, 17, 64, 64],
  [4, 2, 4, 31, 96, 128],
  [2, 1, 1, 32, 128, 64],
  [1, 1, 16, 33, 64, 64],
  [2, 1, 8, 127, 33, 64],
  [9, 1, 1, 128, 16, 16],
  [3, 3, 1, 129, 256, 256],
  [4, 1, 1, 257, 64, 64],
  [1, 1, 1, 1021, 64, 64],
] as const;

const variantsOf = (device: GPUDevice): Variant[] => [
  ...[1, 2, 7].map((SPLITS) => ({ flash_decode: { SPLITS } })),
  ...tiersOf(device)
    .filter(({ kernel }) => kernel === 'flash_decode')
    .slice(-1)
    .map(({ variant }) => ({ flash_decode: { ...variant.flash_decode, ROWS: 4, D_BLOCKS: 2, DV_BLOCKS: 2 } })),
];
const host = (data: Float32Array, ...shape: number[]) => ({ data, shape });

/** A workspace of NaNs: what no split wrote must not be read. */
function workspaceOfNaNs(device: GPUDevice, bytes: number): GPUBuffer | undefined {
  if (bytes === 0) return undefined;
  const buffer = device.createBuffer({ size: bytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(buffer, 0, new Float32Array(bytes / 4).fill(Number.NaN));
  return buffer;
}

const againstReference = (attention: () => Attention) => {
  test.each(SIZES)('H %i, Hk %i, N %i, M %i, D %i, Dv %i', async (H, Hk, N, M, D, Dv) => {
    const { device } = attention();
    const sizes: NaiveSizes = { B: 2, H, Hk, N, M, D, Dv, scale: M === 31 ? 1e4 / D : 1 / Math.sqrt(D), softcap: 0 }; // logits up to ±1e4
    const data = [randomArray(1, 2 * H * N * D), randomArray(2, 2 * Hk * M * D), randomArray(3, 2 * Hk * M * Dv)] as const;
    const q = place(device, data[0], [2, H, N, D]).tensor;
    // a cache as [B,M,Hk,D], with room behind every key
    const k = place(device, data[1], [2, Hk, M, D], { strides: [M * Hk * (D + 4), D + 4, Hk * (D + 4), 1] }).tensor;
    const v = place(device, data[2], [2, Hk, M, Dv], { offset: 48 }).tensor;
    const tensors = [host(data[0], 2, H, N, D), host(data[1], 2, Hk, M, D), host(data[2], 2, Hk, M, Dv)] as const;
    const expected = scaledDotProductAttention(...tensors, { scale: sizes.scale, returnLse: true });
    const raw = scaledDotProductAttention(...tensors, { scale: sizes.scale, returnScores: 'raw' }).scores!.data;
    const naive = await naiveAttention(device, sizes, ...data);
    const scoresError = greatestError(naive.scores, raw);
    for (const variant of variantsOf(device)) {
      const out = place(device, null, [2, H, N, Dv], { strides: [N * H * Dv, Dv, H * Dv, 1] });
      const lse = place(device, null, [2, H, N], { offset: 256 });
      const plan = await attention().plan({ q, k, v, out: out.tensor, scale: sizes.scale, returnLse: true, variant });
      const splits = variant.flash_decode!.SPLITS!;
      expect(plan.kernels.map(({ name }) => name)).toEqual(splits > 1 ? ['flash_decode', 'flash_merge'] : ['flash_decode']);
      const workspace = workspaceOfNaNs(device, plan.workspaceBytes);
      await runPass(device, (pass) => plan.encode(pass, { q, k, v, out: out.tensor, lse: lse.tensor, ...(workspace && { workspace }) }));
      plan.destroy();
      workspace?.destroy();
      expectAsGoodAsNaive(`${JSON.stringify(variant)} out`, await out.read(), expected.out.data, naive.out);
      expectAsGoodAsNaive(`${JSON.stringify(variant)} lse`, await lse.read(), expected.lse!.data, naive.lse, scoresError);
    }
  });

  test('keys that a mask or the key lengths exclude may hold anything, and rows that see none are 0', async () => {
    // 40 keys exist in the first batch element, none in the second; a mask hides every third key
    const on = attention();
    const [B, H, M, D] = [2, 4, 100, 8];
    const data = [randomArray(1, B * H * D), randomArray(2, B * M * D), randomArray(3, B * M * D)] as const;
    const mask = Uint8Array.from({ length: M }, (_, m) => Number(m % 3 !== 0));
    const withNaNs = data.map((values, i) =>
      i === 0 ? values : values.map((value, at) => (at >= 40 * D || Math.floor(at / D) % 3 === 0 ? Number.NaN : value)),
    );
    const shapes = [
      [B, H, 1, D],
      [B, 1, M, D],
      [B, 1, M, D],
    ] as const;
    const inputs = withNaNs.map((values, i) => on.upload(values, shapes[i]!)) as [GpuTensor, GpuTensor, GpuTensor];
    const options = { mask: on.upload(mask, [M]), keyLengths: on.upload(Uint32Array.of(40, 0), [2]) };
    const [q, k, v] = data.map((values, i) => ({ data: values, shape: [...shapes[i]!] }));
    const expected = scaledDotProductAttention(q!, k!, v!, { mask: { data: mask, shape: [M] }, keyLengths: [40, 0], returnLse: true });
    const isVisible = (i: number) => i < H * M && i % M < 40 && mask[i % M] === 1; // row i / M, key i % M
    const bias = Float32Array.from({ length: B * H * M }, (_, i) => (isVisible(i) ? 0 : LOWEST));
    const naive = await naiveAttention(on.device, { B, H, Hk: 1, N: 1, M, D, Dv: D, scale: 1 / Math.sqrt(D), softcap: 0 }, ...data, bias);
    const raw = scaledDotProductAttention(q!, k!, v!, { returnScores: 'raw' }).scores!.data;
    const scoresError = greatestError(
      naive.scores.filter((_, i) => isVisible(i)),
      raw.filter((_, i) => isVisible(i)),
    );
    for (const variant of variantsOf(on.device)) {
      const { out, lse } = await on.scaledDotProductAttention(...inputs, { ...options, variant, returnLse: true });
      const got = [(await on.download(out)).data, (await on.download(lse!)).data] as const;
      expectAsGoodAsNaive(`${JSON.stringify(variant)} out`, got[0], expected.out.data, naive.out);
      expectAsGoodAsNaive(`${JSON.stringify(variant)} lse`, got[1], expected.lse!.data, naive.lse, scoresError);
      expect([...got[0].slice(H * D)]).toEqual(new Array(H * D).fill(0));
      expect([...got[1].slice(H)]).toEqual(new Array(H).fill(LOWEST));
      on.release(out, lse!);
    }
    on.release(...inputs, options.mask, options.keyLengths);
  });
};

const acrossSplits = (attention: () => Attention) => {
  test('a sink counts once, however many splits there are', async () => {
    // 64 keys of score 0 and a sink of ln 64: out is half the values' mean, log-sum-exp ln 128
    const on = attention();
    const inputs = [
      on.upload([0], [1, 1, 1, 1]),
      on.upload(new Float32Array(64), [1, 1, 64, 1]),
      on.upload(new Float32Array(64).fill(6), [1, 1, 64, 1]),
    ] as const;
    const sinks = on.upload([Math.log(64)], [1]);
    const alibiSlopes = on.upload([0], [1]);
    for (const variant of variantsOf(on.device)) {
      for (const slopes of [{}, { alibiSlopes }]) {
        const { out, lse } = await on.scaledDotProductAttention(...inputs, { sinks, ...slopes, variant, returnLse: true });
        expect((await on.download(out)).data[0]).toBeCloseTo(3, 5);
        expect((await on.download(lse!)).data[0]).toBeCloseTo(Math.log(128), 5);
        on.release(out, lse!);
      }
    }
    on.release(...inputs, sinks, alibiSlopes);
  });

  test('the same call twice gives the same bits', async () => {
    const on = attention();
    const inputs = [
      on.upload(randomArray(1, 8 * 64), [1, 8, 1, 64]),
      on.upload(randomArray(2, 2 * 600 * 64), [1, 2, 600, 64]),
      on.upload(randomArray(3, 2 * 600 * 64), [1, 2, 600, 64]),
    ] as const;
    for (const variant of variantsOf(on.device)) {
      const runs = [];
      for (let i = 0; i < 2; i++) {
        const { out } = await on.scaledDotProductAttention(...inputs, { variant });
        runs.push((await on.download(out)).data);
        on.release(out);
      }
      expect(runs[1]).toEqual(runs[0]);
    }
    on.release(...inputs);
  });
};

const choice = (attention: () => Attention) => {
  test('auto takes it for few rows and many keys, and says why', async () => {
    const layout = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
    const plan = (H: number, Hk: number, M: number, variant = {}) =>
      attention().plan({ q: layout(1, H, 1, 64), k: layout(1, Hk, M, 64), v: layout(1, Hk, M, 64), variant });
    const [kernel] = (await plan(32, 8, 4096)).kernels;
    expect(kernel).toMatchObject({ name: 'flash_decode', reason: expect.stringContaining('4 rows a key head and 4096 keys') });
    const facts = { ...basicFacts(attention().device), hasQuads: false };
    const chosen = (N: number, M: number) => chooseFusedTiles(problemOf({ H: 32, Hk: 8, N, M, D: 64, Dv: 64 }), facts).kernel;
    expect([chosen(1, 4096), chosen(2, 4096)]).toEqual(['flash_decode', 'flash_decode']);
    expect([chosen(1, 1), chosen(2, 127), chosen(5, 4096)]).toEqual(['flash_decode', 'flash_forward', 'flash_forward']);
    // parts of out, [splits,H,N,Dv], to the next multiple of 256 bytes, and the maxima and sums: whatever M is
    for (const M of [4096, 400_000]) {
      const forced = await plan(3, 1, M, { flash_decode: { SPLITS: 3 } });
      expect(forced.workspaceBytes).toBe(4 * 3 * 3 * 64 + 8 * 3 * 3);
      expect(forced.kernels[0]).toMatchObject({ variant: { SPLITS: 3 } });
    }
    expect((await plan(3, 1, 4096, { flash_decode: { SPLITS: 1 } })).workspaceBytes).toBe(0);
  });

  test('a workspace stays small for any number of keys and rows', () => {
    const facts = { ...basicFacts(attention().device), hasQuads: false, isSoftware: false };
    for (const [B, H, Hk, N, M] of [
      [1, 8, 8, 1, 2 ** 20],
      [1, 64, 8, 2, 2 ** 20],
      [64, 32, 8, 4, 2 ** 16],
    ] as const) {
      const problem = problemOf({ B, H, Hk, N, M, D: 64, Dv: 64 });
      const { kernel, variant } = chooseFusedTiles(problem, facts);
      expect(kernel).toBe('flash_decode');
      const [splits, groups] = flashDecodeDispatch(problem, variant, 256).grid;
      expect(splits === 1 || splits * groups < 1024, `${splits} splits of ${groups}`).toBe(true);
    }
  });

  test.each([
    ['MASK', { MASK: 2 }],
    ['ROWS', { ROWS: 3 }],
    ['KEYS', { KEYS: 2 }],
    ['LANES', { LANES: 3 }],
    ['D_BLOCKS', { D_BLOCKS: 1, COLS: 1, LANES: 1 }],
  ])('a %s that does not fit is an error', async (name, constants) => {
    const tensor = { shape: [1, 1, 1, 64], dtype: 'f32' as const };
    await expect(attention().plan({ q: tensor, k: tensor, v: tensor, variant: { flash_decode: constants } })).rejects.toThrow(
      expect.objectContaining({ code: 'option', message: expect.stringContaining(name) }),
    );
  });

  test.each(['BAND', 'D_TAIL', 'DV_TAIL'])('%s, which the problem needs, cannot be forced off', async (name) => {
    const tensor = { shape: [1, 1, 2, 8], dtype: 'f32' as const };
    const plan = attention().plan({ q: tensor, k: tensor, v: tensor, isCausal: true, variant: { flash_decode: { [name]: false } } });
    const error = { code: 'option', message: expect.stringContaining(`${name} must be true`) };
    await expect(plan).rejects.toThrow(expect.objectContaining(error));
  });

  test('VEC4 cannot be forced where rows are not whole ones', async () => {
    const tensor = { shape: [1, 1, 2, 10], dtype: 'f32' as const };
    const plan = attention().plan({ q: tensor, k: tensor, v: tensor, variant: { flash_decode: { VEC4: true } } });
    const error = {
      code: 'option',
      message: expect.stringContaining('VEC4 is true: need D, Dv, offsets and strides that are multiples of 4'),
    };
    await expect(plan).rejects.toThrow(expect.objectContaining(error));
  });
};

// It needs no feature.
onDevices('flash_decode', againstReference, ['default device']);
onDevices('flash_decode, splits', acrossSplits, ['default device']);
onDevices('flash_decode, choice', choice, ['default device']);
