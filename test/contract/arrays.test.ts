/** What people's arrays are: of every kind, of another realm, nested, shared; the same for upload, selfAttention, the trainable layer and the reference. */
import { describe, expect, test } from 'vitest';
import { type Attention, createTrainableSelfAttention, createWordModel, type HostData, selfAttention } from '../../src/index.ts';
import * as reference from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';

type Realm = typeof globalThis & { Float16Array: new (values: readonly number[]) => HostData };

/** The arrays of an iframe: `instanceof` knows none of them. */
function otherRealm(): Realm {
  const frame = document.createElement('iframe');
  document.body.append(frame);
  return frame.contentWindow as unknown as Realm;
}

/** Memory that threads share, also on pages that have no SharedArrayBuffer. */
const sharedMemory = () => new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer;

/** What stands for the Float16Array that an engine lacks: its tag says so, and it is no view. */
const standIn = (...values: number[]) => ({
  ...values,
  length: values.length,
  BYTES_PER_ELEMENT: 2,
  [Symbol.toStringTag]: 'Float16Array' as const,
});

const refusal = (code: string, message: string) =>
  expect.objectContaining({ name: 'AttentionError', code, message: expect.stringContaining(message) });

async function roundTrip(on: Attention, ...given: Parameters<Attention['upload']>): Promise<[string, number[], number[]]> {
  const tensor = on.upload(...given);
  const { data } = await on.download(tensor);
  on.release(tensor);
  return [tensor.dtype, [...tensor.shape], [...data]];
}

const { Float16Array } = globalThis as Realm;
const KINDS: [name: string, data: HostData, dtype: string, numbers: number[]][] = [
  ['Float32Array', Float32Array.of(1.5, -2), 'f32', [1.5, -2]],
  ['Float64Array', Float64Array.of(0.1, -2), 'f32', [Math.fround(0.1), -2]],
  ['Float16Array', Float16Array ? new Float16Array([1.5, 65504, -6e-8]) : standIn(1.5, 65504, -6e-8), 'f16', [1.5, 65504, -(2 ** -24)]],
  ['a stand-in for Float16Array', standIn(1 / 3, 7), 'f16', [0.333251953125, 7]],
  ['Uint16Array', Uint16Array.of(0x3c00, 0xc000), 'f16', [1, -2]],
  ['Int8Array', Int8Array.of(0, 1, -1), 'bool', [0, 1, 1]],
  ['Uint8Array', Uint8Array.of(0, 255), 'bool', [0, 1]],
  ['Uint8ClampedArray', Uint8ClampedArray.of(9, 0), 'bool', [1, 0]],
  ['Int16Array', Int16Array.of(3, 32767), 'u32', [3, 32767]],
  ['Int32Array', Int32Array.of(0, 2 ** 31 - 1), 'u32', [0, 2 ** 31 - 1]],
  ['Uint32Array', Uint32Array.of(4294967295), 'u32', [4294967295]],
  ['BigInt64Array', BigInt64Array.of(5n, 4294967295n), 'u32', [5, 4294967295]],
  ['BigUint64Array', BigUint64Array.of(0n, 7n), 'u32', [0, 7]],
  ['numbers', [1, 2.5], 'f32', [1, 2.5]],
  ['booleans', [true, false, true], 'bool', [1, 0, 1]],
  ['bigints', [1n, 0n], 'u32', [1, 0]],
];

onDevices('arrays, uploaded', (attention) => {
  test.each(KINDS)('%s', async (_, data, dtype, numbers) => {
    expect(await roundTrip(attention(), data)).toEqual([dtype, [numbers.length], numbers]);
    expect(await roundTrip(attention(), data, [1, numbers.length])).toEqual([dtype, [1, numbers.length], numbers]);
  });

  test('of another realm', async () => {
    const theirs = otherRealm();
    const on = attention();
    const floats = theirs.Float32Array.of(1, 2, 3);
    expect(floats instanceof Float32Array).toBe(false);
    expect(await roundTrip(on, floats, [3])).toEqual(['f32', [3], [1, 2, 3]]);
    expect(await roundTrip(on, theirs.Float64Array.of(4, 5), [2], 'f16')).toEqual(['f16', [2], [4, 5]]);
    expect(await roundTrip(on, theirs.Uint16Array.of(0x4200))).toEqual(['f16', [1], [3]]);
    expect(await roundTrip(on, theirs.Int8Array.of(0, 1))).toEqual(['bool', [2], [0, 1]]);
    expect(await roundTrip(on, theirs.BigInt64Array.of(6n))).toEqual(['u32', [1], [6]]);
    expect(await roundTrip(on, theirs.Array.of(theirs.Array.of(1), theirs.Array.of(2)))).toEqual(['f32', [2, 1], [1, 2]]);
    if (theirs.Float16Array) expect(await roundTrip(on, new theirs.Float16Array([0.5]))).toEqual(['f16', [1], [0.5]]);
    expect(() => on.upload(new theirs.DataView(new ArrayBuffer(8)) as never)).toThrow(refusal('dtype', 'data is DataView(8): need'));
  });

  test('in shared memory, and a part of a larger buffer', async () => {
    const memory = sharedMemory();
    const shared = new Float32Array(memory, 8, 3);
    shared.set([7, 8, 9]);
    expect(await roundTrip(attention(), shared, [3, 1])).toEqual(['f32', [3, 1], [7, 8, 9]]);
    new Uint8Array(memory).set([1, 0, 1], 64);
    expect(await roundTrip(attention(), new Uint8Array(memory, 64, 3))).toEqual(['bool', [3], [1, 0, 1]]);
    shared.fill(2); // a copy was uploaded, and rows are copied too
    const { context } = await selfAttention({ data: shared, shape: [1, 3] }, { attention: attention() });
    expect([...context.data]).toEqual([2, 2, 2]);
  });
});

onDevices('arrays that must become what is asked for', (attention) => {
  test('nested: the shape is read off, or must be the one that is given', async () => {
    const on = attention();
    const cube = [
      [[1], [2], [3]],
      [[4], [5], [6]],
    ];
    expect(await roundTrip(on, cube)).toEqual(['f32', [2, 3, 1], [1, 2, 3, 4, 5, 6]]);
    expect(await roundTrip(on, cube, [2, 3, 1], 'f16')).toEqual(['f16', [2, 3, 1], [1, 2, 3, 4, 5, 6]]);
    expect(await roundTrip(on, [Int32Array.of(1, 2), Int32Array.of(3, 4)])).toEqual(['u32', [2, 2], [1, 2, 3, 4]]);
    expect(
      await roundTrip(on, [
        [true, false],
        [false, false],
      ]),
    ).toEqual(['bool', [2, 2], [1, 0, 0, 0]]);
    expect(() => on.upload(cube, [3, 2, 1])).toThrow(refusal('shape', 'shape is [3,2,1], and upload: data is nested as [2,3,1]'));
    expect(() => on.upload(cube, [2, 2])).toThrow(refusal('shape', '6 elements for shape [2,2]: need 4'));
    expect(() => on.upload([[1, 2], [3, 4], [5]])).toThrow(refusal('shape', 'data[2] is [5]: every row needs 2 numbers'));
    expect(() => on.upload([[[1, 2]], [3 as never]])).toThrow(refusal('shape', 'data[1][0] is 3: every row needs 2 numbers'));
    expect(() =>
      on.upload([
        [1, 2],
        [3, '4' as never],
      ]),
    ).toThrow(refusal('dtype', 'data[1][1] is "4": need a number'));
    expect(() => on.upload([1, 2n as never])).toThrow(refusal('dtype', 'data[1] is 2n: need a number'));
    expect(() => on.upload(new Array<number>(2))).toThrow(refusal('dtype', 'data[0] is undefined: need a number'));
    expect(() => on.upload([Float32Array.of(1), Float64Array.of(1)])).toThrow(
      refusal('shape', 'data[1] is Float64Array(1): every row needs 1 elements of a Float32Array'),
    );
  });

  test('numbers and integers as what is asked for, within its range', async () => {
    const on = attention();
    expect(await roundTrip(on, [1, 0, 1], [3], 'bool')).toEqual(['bool', [3], [1, 0, 1]]);
    expect(await roundTrip(on, [4294967295, 0], [2], 'u32')).toEqual(['u32', [2], [4294967295, 0]]);
    expect(await roundTrip(on, Uint8Array.of(200, 3), [2], 'u32')).toEqual(['u32', [2], [200, 3]]);
    expect(await roundTrip(on, Int32Array.of(-4, 0), [2], 'bool')).toEqual(['bool', [2], [1, 0]]);
    expect(await roundTrip(on, standIn(0.5), [1], 'f32')).toEqual(['f32', [1], [0.5]]);
    expect(() => on.upload([1, 2.5], [2], 'u32')).toThrow(refusal('option', 'data[1] is 2.5: need an integer from 0 to 4294967295'));
    expect(() => on.upload([[7], [-1]], [2, 1], 'u32')).toThrow(refusal('option', 'data[1][0] is -1: need'));
    expect(() => on.upload(BigInt64Array.of(3n, 4294967296n))).toThrow(refusal('option', 'data[1] is 4294967296n: need'));
    expect(() => on.upload([0, Number.NEGATIVE_INFINITY], [2], 'bool')).toThrow(
      refusal('option', "data[1] is -Infinity: need 0 or 1 for dtype 'bool'"),
    );
    expect(() => on.upload(Int32Array.of(1), [1], 'f32')).toThrow(refusal('dtype', 'Int32Array(1) becomes u32 or bool'));
  });
});

onDevices('arrays in calls', (attention) => {
  test('selfAttention and the trainable layer take what upload takes', async () => {
    const on = attention();
    const theirs = otherRealm();
    const rows = [
      [0.5, 1],
      [2, -1],
      [0.25, 3],
    ];
    const flat = rows.flat();
    const forms = [
      { data: theirs.Float32Array.from(flat), shape: [3, 2] },
      rows.map((row) => theirs.Float64Array.from(row)),
      rows.map((row) => standIn(...row)),
      { data: rows, shape: [3, 2] },
    ];
    const expected = await selfAttention(rows, { attention: on });
    const layer = await createTrainableSelfAttention(on, { width: 2, seed: 4 });
    const weights = (await layer.parameters()).keyWeights;
    const plan = await layer.plan({ batch: 1, length: 3 });
    const y = await plan.forward({ data: Float32Array.from(flat), shape: [1, 3, 2] });
    for (const form of forms) {
      expect(await selfAttention(form, { attention: on, outputBias: new theirs.Float32Array(2) })).toEqual(expected);
      expect(reference.selfAttention(form)).toEqual(reference.selfAttention(rows));
    }
    for (const form of [
      { data: theirs.Float32Array.from(flat), shape: [1, 3, 2] },
      [rows],
      [rows.map((row) => theirs.Float64Array.from(row))],
    ])
      expect(await plan.forward(form)).toEqual(y);
    layer.load({ keyWeights: { data: theirs.Float64Array.from(weights.data), shape: [2, 2] } });
    expect((await layer.parameters()).keyWeights).toEqual(weights);
    expect(() => layer.load({ keyWeights: [[1, 2], [3]] })).toThrow(refusal('shape', 'keyWeights[1] is [3]: every row needs 2 numbers'));
    await expect(plan.forward(new theirs.DataView(new ArrayBuffer(24)) as never)).rejects.toThrow(refusal('dtype', 'x is DataView(24)'));
    layer.destroy();
  });

  test('tokens of every kind, in one list or in rows', async () => {
    const theirs = otherRealm();
    const model = await createWordModel(attention(), { vocabulary: 5, length: 3, width: 4, seed: 3 });
    const twin = new reference.WordModelReference({ vocabulary: 5, length: 3, width: 4, seed: 3 });
    const plan = await model.plan({ batch: 2 });
    const expected = await plan.forward([0, 1, 2, 4, 3, 2], [1, 2, -1, 3, 2, -1]);
    const targets = BigInt64Array.of(1n, 2n, -1n, 3n, 2n, -1n);
    const sentences = [Uint8Array.of(0, 1, 2), Uint8Array.of(4, 3, 2)];
    const shaped = { data: theirs.Int16Array.of(0, 1, 2, 4, 3, 2), shape: [2, 3] };
    const forms = [Int32Array.of(0, 1, 2, 4, 3, 2), theirs.BigUint64Array.of(0n, 1n, 2n, 4n, 3n, 2n), sentences, shaped];
    for (const form of forms) {
      expect(await plan.forward(form, targets)).toEqual(expected);
      expect(twin.forward(form, targets)).toEqual(twin.forward([0, 1, 2, 4, 3, 2], [1, 2, -1, 3, 2, -1]));
    }
    await expect(plan.forward(Int32Array.of(0, 1, 2, 4, -1, 2))).rejects.toThrow(
      refusal('option', 'tokens[4] is -1: need an integer from 0 to 4'),
    );
    await expect(
      plan.forward([
        [0, 1],
        [2, 4],
        [3, 2],
      ]),
    ).rejects.toThrow(refusal('shape', 'tokens has shape [3,2]: need 6, one a word, or [2,3]'));
    await expect(plan.forward(Float32Array.of(0, 1, 2, 4, 3, 2) as never)).rejects.toThrow(
      refusal('dtype', 'tokens is Float32Array(6): need whole numbers'),
    );
    model.destroy();
  });
});

describe('the reference', () => {
  const q = [
    [
      [
        [0.5, 1],
        [1, -1],
      ],
    ],
  ];
  const k = [
    [
      [
        [1, 0],
        [0, 1],
        [2, 2],
      ],
    ],
  ];

  test('takes masks and key lengths of every kind', () => {
    const expected = reference.scaledDotProductAttention(q, k, k, { mask: { data: [true, false, true], shape: [3] } });
    const theirs = otherRealm();
    const masks = [
      [true, false, true],
      [[true, false, true]],
      Int8Array.of(1, 0, 1),
      Uint8ClampedArray.of(1, 0, 1),
      theirs.Uint8Array.of(1, 0, 1),
    ];
    for (const mask of masks) expect(reference.scaledDotProductAttention(q, k, k, { mask: mask as boolean[] })).toEqual(expected);
    const added = [[0, Number.NEGATIVE_INFINITY, 0], standIn(0, -65504, 0), { data: Float32Array.of(0, -3.4e38, 0), shape: [1, 3] }];
    for (const mask of added) expect(reference.scaledDotProductAttention(q, k, k, { mask })).toEqual(expected);
    const short = reference.scaledDotProductAttention(q, k, k, { keyLengths: [2] });
    for (const keyLengths of [2, 2n, [2n], [[2]], Int32Array.of(2), theirs.BigInt64Array.of(2n), { data: Uint8Array.of(2), shape: [1, 1] }])
      expect(reference.scaledDotProductAttention(q, k, k, { keyLengths })).toEqual(short);
  });

  test('refuses what upload refuses', () => {
    expect(() => reference.scaledDotProductAttention(q, k, [[[[1], [2, 3]]]])).toThrow(
      refusal('shape', 'v[0][0][1] is [2,3]: every row needs 1 numbers'),
    );
    expect(() => reference.scaledDotProductAttention(Int32Array.of(1) as never, k, k)).toThrow(
      refusal('dtype', 'q is Int32Array(1): need numbers'),
    );
    expect(() => reference.scaledDotProductAttention(q, k, k, { keyLengths: Int32Array.of(-2) })).toThrow(
      refusal('option', 'keyLengths[0] is -2: need'),
    );
    expect(() => reference.scaledDotProductAttention(q, k, k, { keyLengths: [[1], [2]] })).toThrow(
      refusal('shape', 'keyLengths is [2,1]: need [B] = [1] or [1,1]'),
    );
    expect(() => reference.scaledDotProductAttention(q, k, k, { keyLengths: Float32Array.of(2) as never })).toThrow(
      refusal('dtype', 'keyLengths is Float32Array(1)'),
    );
  });
});
