/** Options are what an object says of itself, inherited or not, read once; and what is no object of options is refused. For every public function alike. */
import { describe, expect, test } from 'vitest';
import {
  type Attention,
  createAttention,
  createTrainableSelfAttention,
  createWordModel,
  type GpuTensor,
  selfAttention,
} from '../../src/index.ts';
import * as reference from '../../src/reference/index.ts';
import { requestDefaultDevice, sharedAttention } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';

type Options = Record<string, unknown>;
/** Calls a function with options, which are whole as they stand here, and gives what came out of it. */
type Call = (on: Attention, options: never) => unknown;

const SHAPE = [1, 2, 3, 4];
const host = (seed: number, shape = SHAPE) => ({
  data: randomArray(
    seed,
    shape.reduce((a, b) => a * b),
  ),
  shape,
});
const upload = (on: Attention, seed: number, shape = SHAPE): GpuTensor => on.upload(host(seed, shape).data, shape);
const ROWS = [
  [1, 2],
  [3, 4],
];
const layout = { shape: SHAPE, dtype: 'f32' as const };
const WORDS = { vocabulary: 4, length: 2, width: 2 };
const bytes = async (on: Attention, tensor: GpuTensor) => [...(await on.download(tensor)).data];

/** By function: options of it of which each changes the outcome, and the call. */
const CALLS: Record<string, [options: Options, call: Call]> = {
  scaledDotProductAttention: [
    { scale: 0.5, isCausal: true, softcap: 2, dropout: { probability: 0.5, seed: 3 }, window: [1, 0] },
    async (on, options) => bytes(on, (await on.scaledDotProductAttention(upload(on, 1), upload(on, 2), upload(on, 3), options)).out),
  ],
  backward: [
    { scale: 0.5, isCausal: true, softcap: 2 },
    async (on, options) => {
      const [q, k, v] = [upload(on, 1), upload(on, 2), upload(on, 3)];
      const { out, lse } = await on.scaledDotProductAttention(q, k, v, { returnLse: true });
      const { q: dq } = await on.backward(upload(on, 4), { q, k, v, out, lse: lse! }, options);
      return bytes(on, dq);
    },
  ],
  plan: [
    { q: layout, k: layout, v: layout, algorithm: 'explicit', variant: { scores: { TILE_N: 16 } } },
    async (on, options) => (await on.plan(options)).kernels,
  ],
  tune: [
    { onProgress: () => {} },
    async (on, options) => Object.keys((await on.tune({ q: layout, k: layout, v: layout }, options)).fastest),
  ],
  createAttention: [
    { powerPreference: 'low-power' },
    async (_, options) => {
      const made = await createAttention(options);
      made.destroy();
      return made.device.label;
    },
  ],
  selfAttention: [
    { queryWeights: ROWS, heads: 2, scale: 0.5, isCausal: true, dropout: { probability: 0.5, seed: 3 } },
    (attention, options: Options) =>
      selfAttention(ROWS, Object.defineProperty(options, 'attention', { value: attention, configurable: true })),
  ],
  createTrainableSelfAttention: [
    { width: 4, heads: 2, isCausal: true, seed: 7 },
    async (on, options) => {
      const { heads, isCausal, parameters } = await createTrainableSelfAttention(on, options).then(async (layer) => ({
        ...layer,
        parameters: await layer.parameters(),
      }));
      return { heads, isCausal, parameters };
    },
  ],
  createWordModel: [
    { ...WORDS, isCausal: false, seed: 7, tokenDeviation: 0.5, positionDeviation: 0.3 },
    async (on, options) => (await createWordModel(on, options)).parameters(),
  ],
  'plan of a layer': [
    { batch: 1, length: 3, backward: true },
    async (on, options) => (await (await createTrainableSelfAttention(on, { width: 4 })).plan(options)).kernels.length,
  ],
  'plan of a model': [
    { batch: 1, returnWeights: true },
    async (on, options) => (await (await createWordModel(on, WORDS)).plan(options)).kernels.length,
  ],
  'update of a layer': [
    { learningRate: 0.1, beta1: 0.5, beta2: 0.7, epsilon: 0.1 },
    async (on, options) => {
      const layer = await createTrainableSelfAttention(on, { width: 2 });
      await layer.update(options);
      return layer.parameters();
    },
  ],
  train: [
    { learningRate: 0.1, beta1: 0.5, beta2: 0.7, epsilon: 0.1, positionRate: 0.5 },
    async (on, options) => {
      const model = await createWordModel(on, WORDS);
      await (await model.plan({ batch: 1, backward: true })).train([0, 1], [1, 2], options);
      return model.parameters();
    },
  ],
  load: [
    { queryWeights: ROWS, outputWeights: ROWS },
    async (on, options) => {
      const layer = await createTrainableSelfAttention(on, { width: 2 });
      layer.load(options);
      return layer.parameters();
    },
  ],
  'reference.scaledDotProductAttention': [
    { scale: 0.5, isCausal: true, softcap: 2, mask: { data: [true, true, false], shape: [3] }, dropout: { probability: 0.5, seed: 3 } },
    (_, options) => reference.scaledDotProductAttention(host(1), host(2), host(3), options),
  ],
  'reference.backward': [
    { scale: 0.5, isCausal: true, softcap: 2 },
    (_, options) => reference.backward(host(4), { q: host(1), k: host(2), v: host(3), out: host(5), lse: host(6, [1, 2, 3]) }, options),
  ],
  'reference.selfAttention': [
    { queryWeights: ROWS, heads: 2, scale: 0.5, isCausal: true, dropout: { probability: 0.5, seed: 3 } },
    (_, options) => reference.selfAttention(ROWS, options),
  ],
  TrainableReference: [
    { width: 4, heads: 2, isCausal: true, seed: 7 },
    (_, options) => {
      const twin = new reference.TrainableReference(options);
      return [twin.parameters(), twin.forward(host(1, [1, 3, 4]))];
    },
  ],
  WordModelReference: [
    { ...WORDS, isCausal: false, seed: 7, tokenDeviation: 0.5, positionDeviation: 0.3 },
    (_, options) => new reference.WordModelReference(options).parameters(),
  ],
  'reference train': [
    { learningRate: 0.1, beta1: 0.5, beta2: 0.7, epsilon: 0.1, positionRate: 0.5 },
    (_, options) => {
      const twin = new reference.WordModelReference(WORDS);
      twin.train([0, 1], [1, 2], options);
      return twin.parameters();
    },
  ],
  'reference load': [
    { queryWeights: ROWS, tokens: host(1, [4, 2]) },
    (_, options) => {
      const twin = new reference.WordModelReference(WORDS);
      twin.load(options);
      return twin.parameters();
    },
  ],
};

/** An object of a class with an accessor for each option, and a method that is none. */
function accessors(options: Options): object {
  class Config {
    describe() {
      return 'no option';
    }
  }
  for (const [name, value] of Object.entries(options)) Object.defineProperty(Config.prototype, name, { get: () => value });
  return new Config();
}

const deeply = (form: (options: Options) => object, options: Options): object =>
  form(
    Object.fromEntries(
      Object.entries(options).map(([name, value]) => [name, name === 'dropout' || name === 'variant' ? form(value as Options) : value]),
    ),
  );
const FORMS: [name: string, form: (options: Options) => object][] = [
  ['inherited', (options) => Object.create(options)],
  ['accessors of a class', accessors],
  ['accessors that are inherited twice', (options) => Object.create(Object.create(accessors(options)))],
  ['without a prototype', (options) => Object.assign(Object.create(null), options)],
  ['a proxy', (options) => new Proxy(options, { get: (target, key) => Reflect.get(target, key) })],
  ['frozen', (options) => Object.freeze({ ...options })],
];

const NONE: [name: string, value: () => unknown, quoted: string][] = [
  ['a Map', () => new Map([['isCausal', true]]), 'Map'],
  ['a Promise', () => Promise.resolve({}), 'Promise'],
  ['a Date', () => new Date(), 'Date'],
  ['a proxy of a Date', () => new Proxy(new Date(), {}), 'Date'],
  ['a DOM node', () => document.createElement('div'), 'HTMLDivElement'],
  ['an error', () => new Error('no options'), 'Error: no options'],
  ['an array', () => [['isCausal', true]], '[["isCausal",true]]'],
  ['a typed array', () => new Float32Array(2), 'Float32Array(2)'],
  ['a function', () => function options() {}, 'options'],
  ['a string', () => 'isCausal', '"isCausal"'],
  ['null', () => null, 'null'],
  ['a proxy of a Map', () => new Proxy(new Map(), {}), 'Map'],
];

const refusal = (quoted: string) =>
  expect.objectContaining({ name: 'AttentionError', code: 'option', message: expect.stringContaining(quoted) });
const run = async (call: Call, options: unknown) => call(await sharedAttention('own device'), options as never);

describe.each(Object.entries(CALLS))('%s', (name, [options, call]) => {
  test('takes options in every form', async () => {
    const expected = await run(call, { ...options });
    for (const [what, form] of FORMS) {
      if (name === 'selfAttention' && what === 'frozen') continue;
      expect(await run(call, deeply(form, options)), what).toEqual(expected);
    }
  });

  test('reads each option once', async () => {
    const counts: Record<string, number> = {};
    const counted = (of: Options, path = ''): object => {
      const made = {};
      for (const [key, value] of Object.entries(of)) {
        const isNested = key === 'dropout' || key === 'variant';
        const given = isNested ? counted(value as Options, `${key}.`) : value;
        const get = () => {
          counts[path + key] = (counts[path + key] ?? 0) + 1;
          return given;
        };
        Object.defineProperty(made, key, { get, enumerable: true });
      }
      return made;
    };
    await run(call, counted(options));
    expect(Object.keys(counts)).toEqual(expect.arrayContaining(Object.keys(options)));
    expect(counts).toEqual(Object.fromEntries(Object.keys(counts).map((key) => [key, 1])));
  });

  test('refuses an unknown option, inherited or not, and one that cannot be read', async () => {
    for (const [what, form] of FORMS.filter(([form]) => form !== 'frozen'))
      await expect(run(call, form({ ...options, isCasual: true })), what).rejects.toThrow(refusal('"isCasual": known are'));
    const json = JSON.parse('{"__proto__": {"isCausal": true}}') as object;
    await expect(run(call, Object.defineProperties(json, Object.getOwnPropertyDescriptors(options)))).rejects.toThrow(
      refusal('"__proto__"'),
    );
    const [first] = Object.keys(options) as [string];
    const boom = () => {
      throw new RangeError('boom');
    };
    const throws = Object.defineProperty({ ...options }, first, { get: boom, enumerable: true });
    await expect(run(call, throws)).rejects.toThrow(refusal(`${first} cannot be read: RangeError: boom`));
  });

  // selfAttention's call defines an option on its options: its own test is below.
  test.skipIf(name === 'selfAttention')('refuses what is no object of options, and says what it is', async () => {
    for (const [what, value, quoted] of NONE)
      await expect(run(call, value()), what).rejects.toThrow(refusal(` are ${quoted}: need an object`));
  });
});

test('a device in place of { device }', async () => {
  const device = await requestDefaultDevice();
  for (const given of [device, new Proxy(device, {})])
    await expect(createAttention(given as object)).rejects.toThrow(refusal('createAttention: options are GPUDevice: need { device }'));
  device.destroy();
});

test('selfAttention refuses what is no object of options', async () => {
  for (const [what, value, quoted] of NONE)
    await expect(selfAttention(ROWS, value() as object), what).rejects.toThrow(
      refusal(`selfAttention: options are ${quoted}: need an object`),
    );
});
