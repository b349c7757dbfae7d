/** Values that no caller means: each is an AttentionError, at once, which quotes it. Nothing hangs, and nothing that is refused is counted. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { quote } from '../../src/contract/errors.ts';
import {
  createAttention,
  createTrainableSelfAttention,
  createWordModel,
  selfAttention,
  type TrainableSelfAttention,
  type WordModel,
} from '../../src/index.ts';
import { attention, type Case, device, expectAttentionError, k, layout, plan, q, raw, sdpa, useTensors, v } from './bad-input.ts';
import {
  bottomless,
  cyclic,
  detached,
  endless,
  handingOut,
  hostileProxy,
  outOfBounds,
  revoked,
  revokedArray,
  standIn,
  throwingGetters,
  withHole,
  withoutPrototype,
  withThrowingElement,
} from './hostile-values.ts';

useTensors();

test.each([
  ['a cyclic array', cyclic, '[1,[1,[1,[1,[…]]]]]'],
  ['arrays without an end', bottomless, '[[[[[…]]]]]'],
  ['a constructor that is null', () => ({ constructor: null }), '{constructor}'],
  ['a constructor whose name is none', () => ({ constructor: { name: Symbol('x') }, a: 1 }), '{constructor, a}'],
  ['a typed array without a prototype', () => withoutPrototype(Float32Array.of(1, 2)), 'Float32Array(2)'],
  ['a view without a prototype', () => withoutPrototype(new DataView(new ArrayBuffer(4))), 'DataView(4)'],
  ['an object without a prototype', () => withoutPrototype({ a: 1 }), '{a}'],
  ['a revoked proxy', revoked, 'a value that cannot be read'],
  ['a revoked array', revokedArray, 'a value that cannot be read'],
  ['an object that refuses every look', hostileProxy, 'a value that cannot be read'],
  ['a getter that throws', () => throwingGetters('constructor'), 'a value that cannot be read'],
  ['a list with holes', () => withHole([0, 1], 0), '[undefined,1]'],
  ['a long list', () => Array(20).fill(0), '[0,0,0,0,0,0,0,0,… 20 in all]'],
  [
    'a large object',
    () => Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`p${i}`, i])),
    '{p0, p1, p2, p3, p4, p5, p6, p7, … 20 in all}',
  ],
  ['a long text', () => 'x'.repeat(1e6), `"${'x'.repeat(200)}…"`],
  ['a symbol', () => Symbol('s'), 'Symbol(s)'],
])('quote says what it can of %s', (_, make, quoted) => {
  expect(quote(make())).toBe(quoted);
});

const MEMORY: Case[] = [
  ['a detached array', 'shape', 'data is Float32Array(0): its memory is detached', () => attention.upload(detached())],
  ['a detached array with its shape', 'shape', 'detached', () => attention.upload(detached(), [4])],
  ['a row that is detached', 'shape', 'data[1] is Float32Array(0)', () => attention.upload([Float32Array.of(1, 2, 3, 4), detached()])],
  [
    'rows of a detached array',
    'shape',
    'inputs is Float32Array(0)',
    () => selfAttention({ data: detached(), shape: [2, 2] }, { attention }),
  ],
  ['an array beyond its memory', 'shape', 'became too short', () => attention.upload(outOfBounds())],
  ['a stand-in without an end', 'shape', 'length is 4294967296', () => attention.upload(standIn(2 ** 32, 1) as never)],
  ['a stand-in without a length', 'shape', 'length is undefined', () => attention.upload(standIn(undefined, 1) as never)],
  ['a stand-in of text', 'dtype', '"1"', () => attention.upload(standIn(1, '1') as never)],
  ['arrays without an end', 'dtype', '[0][0] is [[[[[…]]]]]: need a number', () => attention.upload(bottomless() as never)],
  ['a cyclic array', 'dtype', 'data[1] is [1,', () => attention.upload(cyclic() as never)],
  ['a revoked array', 'option', 'data cannot be read', () => attention.upload(revokedArray() as never)],
  ['a list with a hole', 'dtype', 'data[1] is undefined', () => attention.upload(withHole([1, 2, 3], 1))],
  ['elements that throw', 'option', 'data cannot be read: TypeError: boom', () => attention.upload(withThrowingElement())],
  ['shared arrays that are 2^60 elements', 'limit', 'elements: need at most', () => attention.upload(doubled(60) as never)],
];

/** Two elements, two of it, two of that, …: few objects, and many elements. */
function doubled(times: number): unknown {
  let list: unknown = [1, 2];
  for (let i = 1; i < times; i++) list = [list, list];
  return list;
}

const tensor = (change: object) => () => sdpa({ ...q, ...change }, k, v);
const TENSORS: Case[] = [
  [
    'a proxied buffer',
    'option',
    'buffer is GPUBuffer: need a GPUBuffer, and not a proxy',
    tensor({
      get buffer() {
        return new Proxy(q.buffer, {});
      },
    }),
  ],
  [
    'a buffer that a store hands out',
    'option',
    'and not a proxy',
    tensor({
      get buffer() {
        return handingOut(q.buffer);
      },
    }),
  ],
  ['a shape with a hole', 'shape', '[2,undefined,3,5]', tensor({ shape: withHole([2, 4, 3, 5], 1) })],
  ['strides with a hole', 'shape', '[60,undefined,5,1]', tensor({ strides: withHole([60, 15, 5, 1], 1) })],
  ['a shape of too many sizes', 'shape', 'has 4294967295 elements', tensor({ shape: new Array(2 ** 32 - 1) })],
  ['a revoked shape', 'option', 'q.shape cannot be read', tensor({ shape: revokedArray() })],
  ['an offset of null', 'shape', 'offset is null', tensor({ offset: null })],
  ['strides of null', 'shape', 'strides are null', tensor({ strides: null })],
  ['a tensor that refuses every look', 'option', 'q.shape cannot be read', () => sdpa(hostileProxy(), k, v)],
  [
    'a shape from JSON',
    'shape',
    'shape is undefined',
    () => sdpa({ ...JSON.parse('{"__proto__": {"shape": [2,4,3,5]}}'), buffer: q.buffer, dtype: 'f32' }, k, v),
  ],
  ['a bigint among sizes', 'shape', '[2n,4,3,5]', tensor({ shape: [2n, 4, 3, 5] })],
  ['a window with a hole', 'option', '[undefined,1]', () => sdpa(q, k, v, { window: withHole([0, 1], 0) })],
  [
    'a dropout of JSON',
    'option',
    '"__proto__"',
    () => sdpa(q, k, v, { dropout: JSON.parse('{"__proto__": {"probability": 0.5}, "seed": 1}') }),
  ],
  ['options without an end', 'option', 'need an object', () => sdpa(q, k, v, endless())],
  ['options that refuse every look', 'option', 'options cannot be read: TypeError: boom', () => sdpa(q, k, v, hostileProxy())],
  [
    'a tensor released twice at once',
    'option',
    'is given twice',
    () => {
      const own = attention.empty([3]);
      attention.release(own, { ...own });
    },
  ],
  ['a hole among parts', 'shape', 'parts[1] is undefined', () => attention.merge(withHole([part(), part(), part()], 1))],
  ['a bias of null', 'shape', 'bias is null', () => attention.project(q, { ...k, shape: [5, 2] }, null as never)],
  ['a tensor named constructor', 'option', 'unknown tensor "constructor"', () => encode({ constructor: q })],
  ['a tensor named toString', 'option', 'unknown tensor "toString"', () => encode({ toString: q })],
  [
    'a download of more than its buffer',
    'limit',
    'at most 268435456 elements',
    () => attention.download({ ...q, shape: [2 ** 31, 1], strides: [0, 1] }),
  ],
  ['no elements in too many heads', 'limit', 'elements', () => attention.empty([2 ** 40, 0])],
];
const part = () => ({ out: q, lse: { ...q, shape: [2, 4, 3] } });
const encode = (change: object, pass?: unknown) => {
  const out = { ...layout(2, 4, 3, 7), buffer: raw(4096, GPUBufferUsage.STORAGE) };
  const lse = { ...layout(2, 4, 3), buffer: raw(4096, GPUBufferUsage.STORAGE) };
  plan.encode(pass as GPUComputePassEncoder, { q, k, v, out, lse, workspace: raw(plan.workspaceBytes, GPUBufferUsage.STORAGE), ...change });
};

/** What is no pass. */
const PASSES: [what: string, quoted: string, make: () => unknown][] = [
  ['nothing', 'undefined', () => undefined],
  ['an encoder', 'GPUCommandEncoder', () => device.createCommandEncoder()],
  ['an object', '{}', () => ({})],
  ['a proxy of a pass', 'GPUComputePassEncoder', () => new Proxy(device.createCommandEncoder().beginComputePass(), {})],
  ['what a store hands out for a pass', 'GPUComputePassEncoder', () => handingOut(device.createCommandEncoder().beginComputePass())],
];

describe.each(Object.entries({ MEMORY, TENSORS }))('%s', (_, cases) => {
  test.each(cases)('%s: %s, quotes %s', (...parts) => expectAttentionError(parts));
});

const refused = (quoted: string) =>
  expect.objectContaining({ name: 'AttentionError', code: 'option', message: expect.stringContaining(quoted) });

describe('calls on what was made before', () => {
  const WORDS = { vocabulary: 4, length: 2, width: 2 };
  let layer: TrainableSelfAttention;
  let model: WordModel;
  beforeAll(async () => {
    layer = await createTrainableSelfAttention(attention, { width: 2 });
    model = await createWordModel(attention, WORDS);
  });
  afterAll(() => {
    layer.destroy();
    model.destroy();
  });

  test.each(PASSES)('%s in place of a pass', async (_, quoted, make) => {
    const pass = make() as GPUComputePassEncoder;
    const own = await layer.plan({ batch: 1, length: 2, backward: true });
    const words = await model.plan({ batch: 1, backward: true });
    const calls: Record<string, () => void> = {
      encode: () => encode({}, pass),
      'encode of a layer': () => own.encode(pass),
      'encodeBackward of a layer': () => own.encodeBackward(pass),
      'encode of a model': () => words.encode(pass),
      'encodeBackward of a model': () => words.encodeBackward(pass),
      'encodeUpdate of a layer': () => layer.encodeUpdate(pass),
      'encodeUpdate of a model': () => model.encodeUpdate(pass),
    };
    for (const [name, call] of Object.entries(calls))
      expect(call, name).toThrow(refused(`${name.split(' ')[0]}: pass is ${quoted}: need a GPUComputePassEncoder`));
    own.destroy();
    words.destroy();
  });

  test('a step of Adam that is refused is not counted', async () => {
    const train = async (disturb: (on: WordModel) => void) => {
      const made = await createWordModel(attention, { ...WORDS, seed: 5 });
      const words = await made.plan({ batch: 1, backward: true });
      for (let i = 0; i < 3; i++) {
        disturb(made);
        await words.train([0, 1], [1, 2], { learningRate: 0.1 });
      }
      const parameters = await made.parameters();
      made.destroy();
      return parameters;
    };
    const disturbed = await train((made) => {
      expect(() => made.encodeUpdate(undefined as never)).toThrow(refused('pass is undefined'));
      expect(() => made.encodeUpdate({} as never, { beta1: 0.5 })).toThrow(refused('pass is {}'));
      expect(() => made.encodeUpdate(undefined as never, { beta1: 2 })).toThrow(refused('beta1 is 2'));
    });
    expect(disturbed).toEqual(await train(() => {}));
  });

  test.each([
    ['a vocabulary of 2^28', { vocabulary: 2 ** 28 }, 'the table of tokens is [268435456,2]'],
    ['a length of 2^32', { length: 2 ** 32 }, 'the table of positions is [4294967296,2]'],
    ['a width of 2^40', { width: 2 ** 40 }, 'a matrix is [1099511627776,1099511627776]'],
  ])('%s is a limit, at once', async (_, change, quoted) => {
    const limit = expect.objectContaining({ name: 'AttentionError', code: 'limit', message: expect.stringContaining(quoted) });
    await expect(createWordModel(attention, { ...WORDS, ...change })).rejects.toThrow(limit);
  });

  test('a plan of too many sentences is a limit', async () => {
    const limit = expect.objectContaining({ name: 'AttentionError', code: 'limit' });
    for (const batch of [2 ** 31, 2 ** 52]) await expect(model.plan({ batch })).rejects.toThrow(limit);
    await expect(layer.plan({ batch: 1, length: 2 ** 32 })).rejects.toThrow(limit);
    await expect(
      selfAttention({ data: new Float32Array(2 ** 17), shape: [1, 2 ** 17] }, { attention, outputBias: new Float32Array(2 ** 17) }),
    ).rejects.toThrow(limit);
  });
});

describe('what an Attention is made from', () => {
  test('devices and Attentions that are none', async () => {
    const likeOne = {
      createComputePipelineAsync() {},
      createBuffer: () => ({}),
      limits: {},
      features: new Set(),
      lost: new Promise(() => {}),
    };
    for (const [given, quoted] of [
      [likeOne, '{createComputePipelineAsync, createBuffer, limits, features, lost}'],
      [new Proxy(device, {}), 'GPUDevice: need a GPUDevice, and not a proxy'],
      [handingOut(device), 'GPUDevice: need a GPUDevice, and not a proxy'],
      [Object.create(device), 'GPUDevice'],
      [null, 'null'],
      [hostileProxy(), 'a value that cannot be read'],
    ] as const)
      await expect(createAttention({ device: given as GPUDevice })).rejects.toThrow(refused(`device is ${quoted}`));
    for (const given of [revoked(), hostileProxy(), 5, device])
      await expect(selfAttention([[1]], { attention: given as never })).rejects.toThrow(refused('attention'));
  });

  test.each([
    ['[]', []],
    ['[[]]', { adapter: 'x', fastest: [] }],
    ['a Map', { adapter: 'x', fastest: new Map() }],
    ['text', { adapter: 'x', fastest: { a: 'fused' } }],
    ['a prototype', { adapter: 'x', fastest: JSON.parse('{"__proto__": {"algorithm": "fused"}}') }],
    ['unknown properties', { adapter: 'x', fastest: {}, made: 1 }],
    ['constants that are none', { adapter: 'x', fastest: { a: { algorithm: 'fused', variant: { scores: [] } } } }],
  ])('a tuning of %s', async (_, tuning) => {
    await expect(createAttention({ device, tuning: tuning as never })).rejects.toThrow(refused('tuning'));
  });
});
