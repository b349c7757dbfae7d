/** Empty tensors: B, H, N or M of 0 gives what PyTorch gives, on every path, as the reference does. */
import { describe, expect, test } from 'vitest';
import { elementCount } from '../../src/contract/tensor.ts';
import { type Attention, AttentionError, type AttentionOptions, type GpuTensor, selfAttention } from '../../src/index.ts';
import * as reference from '../../src/reference/index.ts';
import { backwardTiersOf } from '../rig/backward-tiers.ts';
import { onDevices, runPass } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { firstTiersOf } from '../rig/tiers.ts';
import { LOWEST } from '../rig/tolerance.ts';

type Sizes = Readonly<Record<'B' | 'H' | 'Hk' | 'N' | 'M', number>>;
const FULL: Sizes = { B: 2, H: 4, Hk: 2, N: 5, M: 7 };
const [D, Dv] = [8, 12];
const SIZES: [name: string, sizes: Sizes][] = [
  ['B', { ...FULL, B: 0 }],
  ['H', { ...FULL, H: 0, Hk: 0 }],
  ['H, not Hk', { ...FULL, H: 0 }],
  ['N', { ...FULL, N: 0 }],
  ['M', { ...FULL, M: 0 }],
  ['M, of one query', { ...FULL, N: 1, M: 0 }],
  ['N and M', { ...FULL, N: 0, M: 0 }],
  ['B, of decoding', { ...FULL, B: 0, N: 1, M: 300 }],
];

interface Inputs {
  readonly q: reference.HostTensor;
  readonly k: reference.HostTensor;
  readonly v: reference.HostTensor;
  readonly gradient: reference.HostTensor;
}
const host = (seed: number, ...shape: number[]) => ({ data: randomArray(seed, elementCount(shape)), shape });
const inputsOf = ({ B, H, Hk, N, M }: Sizes): Inputs => ({
  ...{ q: host(1, B, H, N, D), k: host(2, B, Hk, M, D), v: host(3, B, Hk, M, Dv), gradient: host(4, B, H, N, Dv) },
});

/** Options whose tensors are empty where the sizes are. */
const optionsOf = ({ B, H, N, M }: Sizes): Record<string, reference.ReferenceBackwardOptions> => ({
  none: {},
  sinks: { sinks: host(5, H), isCausal: true },
  'alibi and sinks': { alibiSlopes: host(6, H), sinks: host(5, H), causalOffset: 'lower-right' },
  'additive mask': { mask: host(7, B, 1, N, M), maskGradient: true },
  'mask of all heads': { mask: host(7, 1, 1, 1, M), maskGradient: true, softcap: 3 },
  'boolean mask and lengths': { mask: { data: new Uint8Array(N * M).fill(1), shape: [N, M] }, keyLengths: new Uint32Array(B).fill(M) },
  dropout: { dropout: { probability: 0.5, seed: 3 }, window: [2, 1] },
});

const uploadAll = (on: Attention, tensors: object): Record<string, GpuTensor> =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const { data, shape } = tensor.shape ? tensor : { data: tensor, shape: [tensor.length] };
      return [name, on.upload(data, shape)];
    }),
  );

/** The tensor options uploaded, the others as they are. */
function uploadOptions(
  on: Attention,
  { mask, keyLengths, alibiSlopes, sinks, ...rest }: reference.ReferenceBackwardOptions,
): AttentionOptions {
  const given = Object.entries({ mask, keyLengths, alibiSlopes, sinks }).filter(([, tensor]) => tensor !== undefined);
  const { keep: _, maskGradient: __, ...plain } = rest;
  return { ...plain, ...uploadAll(on, Object.fromEntries(given)) };
}

/** Expects the reference's tensors: the same shapes, and numbers within 1e-5. */
async function expectReference(on: Attention, tensors: object, expected: object): Promise<void> {
  expect(Object.keys(tensors).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, tensor] of Object.entries(tensors) as [string, GpuTensor][]) {
    const twin = (expected as Record<string, reference.HostTensor>)[name]!;
    const { data, shape } = await on.download(tensor);
    expect(shape, name).toEqual(twin.shape);
    expect(data.length, name).toBe(twin.data.length);
    for (const [i, value] of data.entries())
      expect(Math.abs(value - twin.data[i]!), `${name}[${i}]`).toBeLessThanOrEqual(1e-5 * (1 + Math.abs(twin.data[i]!)));
  }
}

const FEW = ['none', 'alibi and sinks', 'additive mask'];

onDevices('empty', (attention) => {
  test.each(SIZES)('%s is 0: both algorithms and the gradients, with every option', async (_, sizes) => {
    const on = attention();
    const inputs = inputsOf(sizes);
    const all = Object.entries(optionsOf(sizes));
    // Without heads nothing depends on the other options. Kernels with subgroups are many to compile: the default device has all options.
    const areFew = sizes.B * sizes.H === 0 || on.device.features.has('subgroups');
    const some = areFew ? all.filter(([name]) => FEW.includes(name)) : all;
    for (const [, given] of some) {
      const { maskGradient, ...forward } = given;
      const { q, k, v, gradient } = uploadAll(on, inputs) as Record<keyof Inputs, GpuTensor>;
      const options = uploadOptions(on, given);
      const expected = reference.scaledDotProductAttention(inputs.q, inputs.k, inputs.v, { ...forward, returnLse: true });
      for (const algorithm of ['explicit', 'fused'] as const)
        await expectReference(on, await on.scaledDotProductAttention(q, k, v, { ...options, algorithm, returnLse: true }), expected);
      const scored = await on.scaledDotProductAttention(q, k, v, { ...options, returnScores: 'masked' });
      expect(scored.scores!.shape).toEqual([sizes.B, sizes.H, sizes.N, sizes.M]);
      const { out, lse } = await on.scaledDotProductAttention(q, k, v, { ...options, returnLse: true });
      const gradients = await on.backward(gradient, { q, k, v, out, lse: lse! }, { ...options, ...(maskGradient && { maskGradient }) });
      const twin = { ...inputs, out: expected.out, lse: expected.lse! };
      await expectReference(on, gradients, reference.backward(inputs.gradient, twin, given));
    }
  });

  test.each(['N', 'M'] as const)('%s is 0: every kernel that the device can run', async (size) => {
    const on = attention();
    const sizes = { ...FULL, [size]: 0 };
    const inputs = inputsOf(sizes);
    const { q, k, v, gradient } = uploadAll(on, inputs) as Record<keyof Inputs, GpuTensor>;
    const expected = reference.scaledDotProductAttention(inputs.q, inputs.k, inputs.v, { returnLse: true });
    for (const { variant } of firstTiersOf(on.device))
      await expectReference(on, await on.scaledDotProductAttention(q, k, v, { variant, returnLse: true }), expected);
    const { out, lse } = await on.scaledDotProductAttention(q, k, v, { returnLse: true });
    const twin = reference.backward(inputs.gradient, { ...inputs, out: expected.out, lse: expected.lse! });
    for (const { variant } of backwardTiersOf(on.device, Dv))
      await expectReference(on, await on.backward(gradient, { q, k, v, out, lse: lse! }, { variant }), twin);
  });

  test('rows that see no key, by hand: out 0, lse the lowest f32 or the sink, gradients 0', async () => {
    const on = attention();
    const [q, k, out] = [on.upload([1, 2, 3, 4], [1, 2, 1, 2]), on.empty([1, 2, 0, 2]), on.upload([5, 5, 5, 5], [1, 2, 1, 2])];
    on.release(out); // what the next tensor finds in memory
    const plain = await on.scaledDotProductAttention(q, k, k, { returnLse: true });
    expect([...(await on.download(plain.out)).data, ...(await on.download(plain.lse!)).data]).toEqual([0, 0, 0, 0, LOWEST, LOWEST]);
    const sinks = on.upload([0.5, -2], [2]);
    const sunk = await on.scaledDotProductAttention(q, k, k, { returnLse: true, sinks });
    expect([...(await on.download(sunk.out)).data, ...(await on.download(sunk.lse!)).data]).toEqual([0, 0, 0, 0, 0.5, -2]);
    const gradients = await on.backward(q, { q, k, v: k, out: sunk.out, lse: sunk.lse! }, { sinks });
    expect([...(await on.download(gradients.q)).data, ...(await on.download(gradients.sinks!)).data]).toEqual([0, 0, 0, 0, 0, 0]);
    expect((await on.download(gradients.k)).shape).toEqual([1, 2, 0, 2]);
  });

  test.each(SIZES)('%s is 0: a plan of both directions, in a pass of the caller’s', async (_, sizes) => {
    const on = attention();
    const { q, k, v, gradient } = uploadAll(on, inputsOf(sizes)) as Record<keyof Inputs, GpuTensor>;
    const { B, H, N } = sizes;
    const plan = await on.plan({ q, k, v, returnLse: true, backward: true });
    const ninesLike = (tensor: GpuTensor) => on.upload(new Float32Array(elementCount(tensor.shape)).fill(9), tensor.shape);
    const outputs = { out: ninesLike(gradient), lse: on.empty([B, H, N]), dq: ninesLike(q), dk: ninesLike(k), dv: ninesLike(v) };
    const workspace = plan.workspaceBytes > 0 ? { workspace: on.empty([plan.workspaceBytes / 4]).buffer } : {};
    await runPass(on.device, (pass) => {
      const { out, lse } = outputs;
      plan.encode(pass, { q, k, v, out, lse, ...workspace });
      plan.encodeBackward(pass, { q, k, v, gradient, ...outputs, ...workspace });
    });
    const { out, lse } = await on.scaledDotProductAttention(q, k, v, { returnLse: true });
    const { q: dq, k: dk, v: dv } = await on.backward(gradient, { q, k, v, out, lse: lse! });
    for (const [name, tensor] of Object.entries({ out, lse: lse!, dq, dk, dv }))
      expect(await on.download(outputs[name as 'out']), name).toEqual(await on.download(tensor));
    plan.destroy();
  });
});

onDevices('empty, other calls', (attention) => {
  test('upload, empty, download and release, of every type', async () => {
    const on = attention();
    for (const dtype of ['f32', 'f16', 'u32', 'bool'] as const) {
      const made = [on.empty([3, 0, 2], dtype), on.upload([], [0], dtype)];
      expect((await on.download(made[0]!)).shape).toEqual([3, 0, 2]);
      expect((await on.download(made[1]!)).data.length).toBe(0);
      on.release(...made);
      expect(() => on.release(made[0]!)).toThrow('was released before');
      await expect(on.download(made[1]!)).rejects.toThrow('was released before');
    }
    expect(on.upload([[], []]).shape).toEqual([2, 0]);
    expect(on.upload(new BigInt64Array(0))).toMatchObject({ dtype: 'u32', shape: [0] });
    const buffer = on.device.createBuffer({ size: 0, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
    expect((await on.download({ buffer, dtype: 'f32', shape: [0, 9] })).shape).toEqual([0, 9]); // of a caller’s own
  });
});

onDevices('empty, projections', (attention) => {
  test.each([
    ['no queries, a mask of one row', 0, 3, [1, 1, 1, 3]],
    ['no keys, a mask of one column', 3, 0, [1, 1, 3, 1]],
  ] as const)('the gradient of a mask is 0: %s', async (_, N, M, shape) => {
    const on = attention();
    const [q, k] = [on.empty([1, 1, N, 2]), on.empty([1, 1, M, 2])];
    const mask = on.upload([1, 2, 3], shape);
    const { out, lse } = await on.scaledDotProductAttention(q, k, k, { mask, returnLse: true });
    const before = Array.from({ length: 8 }, () => on.upload([9, 9, 9], shape)); // what the gradients find in memory
    on.release(...before);
    const made = await on.backward(q, { q, k, v: k, out, lse: lse! }, { mask, maskGradient: true });
    expect([...(await on.download(made.mask!)).data]).toEqual([0, 0, 0]);
  });

  test('project and its gradients: no rows, nothing to sum, no columns', async () => {
    const on = attention();
    const values = async (tensor: GpuTensor) => [tensor.shape, [...(await on.download(tensor)).data]];
    const [w, bias] = [
      on.upload([
        [1, 2, 3],
        [4, 5, 6],
      ]),
      on.upload([7, 8, 9]),
    ];
    expect(await values(await on.project(on.empty([0, 2]), w, bias))).toEqual([[0, 3], []]);
    expect(await values(await on.project(on.empty([4, 0, 2]), w))).toEqual([[4, 0, 3], []]);
    expect(await values(await on.project(on.empty([2, 0]), on.empty([0, 3]), bias))).toEqual([
      [2, 3],
      [7, 8, 9, 7, 8, 9],
    ]);
    expect(await values(await on.project(on.empty([2, 0]), on.empty([0, 3])))).toEqual([
      [2, 3],
      [0, 0, 0, 0, 0, 0],
    ]);
    expect(await values(await on.project(on.upload([[1, 2]]), on.empty([2, 0])))).toEqual([[1, 0], []]);
    const { x, weights, bias: dBias } = await on.projectBackward(on.empty([0, 3]), on.empty([0, 2]), w);
    expect(await values(x)).toEqual([[0, 2], []]);
    expect(await values(weights)).toEqual([
      [2, 3],
      [0, 0, 0, 0, 0, 0],
    ]);
    expect(await values(dBias)).toEqual([[3], [0, 0, 0]]);
  });
});

onDevices('empty, merges and selfAttention', (attention) => {
  test.each([
    [0, 2, 3],
    [1, 0, 3],
    [2, 3, 0],
  ])('merge of [%i,%i,%i] rows', async (B, H, N) => {
    const on = attention();
    const part = () => ({ out: on.empty([B, H, N, 4]), lse: on.empty([B, H, N]) });
    for (const parts of [[part()], [part(), part(), part()]]) {
      const { out, lse } = await on.merge(parts);
      expect([(await on.download(out)).shape, (await on.download(lse)).shape]).toEqual([
        [B, H, N, 4],
        [B, H, N],
      ]);
    }
    const empty = { out: { data: [], shape: [B, H, N, 4] }, lse: { data: [], shape: [B, H, N] } };
    expect(reference.merge([empty, empty]).out).toEqual({ data: new Float64Array(0), shape: [B, H, N, 4] });
  });

  test.each([[[0, 2]], [[0, 3, 2]], [[2, 0, 2]]])('selfAttention of %j', async (shape) => {
    const inputs = { data: new Float32Array(0), shape };
    const options = {
      queryWeights: [
        [1, 0, 2, 1],
        [0, 1, 1, 1],
      ],
      keyWeights: [
        [1, 0, 2, 1],
        [0, 1, 1, 1],
      ],
      heads: 2,
      outputWeights: [
        [1, 2, 3],
        [4, 5, 6],
      ],
    };
    for (const given of [{}, options]) {
      const result = await selfAttention(inputs, { ...given, attention: attention() });
      const twin = reference.selfAttention(inputs, given);
      for (const [name, { data, shape: got }] of Object.entries(result)) {
        expect(data.length).toBe(0);
        expect(got, name).toEqual(twin[name as 'context'].shape);
      }
    }
  });
});

describe('what stays an error', () => {
  const q = { data: [], shape: [1, 2, 3, 0] };
  const k = { data: [], shape: [1, 2, 4, 0] };
  const v = host(1, 1, 2, 4, 5);
  test('heads of no elements', () => {
    expect(() => reference.scaledDotProductAttention(q, k, v)).toThrow('q is [1,2,3,0]: D must be at least 1');
    expect(() => reference.scaledDotProductAttention(host(1, 1, 2, 3, 4), host(1, 1, 2, 4, 4), k)).toThrow(
      'v is [1,2,4,0]: Dv must be at least 1',
    );
    expect(() => reference.scaledDotProductAttention(host(1, 1, 2, 3, 4), host(1, 1, 0, 4, 4), host(1, 1, 0, 4, 4))).toThrow(
      'the 0 key heads must divide the 2 query heads',
    );
    expect(() => reference.merge([{ out: { data: [], shape: [1, 1, 1, 0] }, lse: [[[0]]] }])).toThrow(AttentionError);
    expect(() => reference.selfAttention([[]])).toThrow('inputs is [[]]: need at least one number a row');
  });

  onDevices('on the GPU', (attention) => {
    test('heads of no elements, and nothing to tune', async () => {
      const on = attention();
      const [none, some] = [on.empty([1, 1, 2, 0]), on.empty([1, 1, 2, 4])];
      const expectShapeError = (call: Promise<unknown>, message: string) =>
        expect(call).rejects.toThrow(expect.objectContaining({ code: 'shape', message: expect.stringContaining(message) }));
      await expectShapeError(on.scaledDotProductAttention(none, none, some), 'q is [1,1,2,0]: D must be at least 1');
      await expectShapeError(on.plan({ q: some, k: some, v: none }), 'plan: v is [1,1,2,0]: Dv must be at least 1');
      await expectShapeError(on.merge([{ out: none, lse: on.empty([1, 1, 2]) }]), 'parts[0].out is [1,1,2,0]: Dv must be at least 1');
      await expectShapeError(on.tune({ q: some, k: on.empty([1, 1, 0, 4]), v: on.empty([1, 1, 0, 4]) }), 'M 0: need one query and one key');
    });
  });
});
