/** Every public function with right arguments, what it gives, and what it should give. */
import {
  createAttention,
  createTrainableSelfAttention,
  createWordModel,
  selfAttention,
  type TrainableSelfAttention,
  type WordModel,
} from '../../src/index.ts';
import * as reference from '../../src/reference/index.ts';
import { bare, heads, LAYER, layoutOf, type Operation, rows, WORDS } from './context.ts';
import { TENSOR_CALLS } from './tensor-calls.ts';

const stop = new Error('stop');
const plans: Record<string, Operation> = {
  plan: {
    make: ({ q, k }) => {
      const backward = { gradient: layoutOf(q), dq: layoutOf(q), dk: layoutOf(k), dv: layoutOf(k) };
      return [
        {
          q: layoutOf(q),
          k: layoutOf(k),
          v: layoutOf(k),
          out: layoutOf(q),
          isCausal: true,
          sinks: true,
          keyLengths: true,
          backward,
          variant: {},
        },
      ];
    },
    run: async ({ on }, problem) => {
      const made = await on.plan(problem);
      made.destroy();
      return made.kernels.length > 0;
    },
    twin: () => true,
  },
  encode: {
    make: ({ on, q, k, out }) => {
      const encoder = on.device.createCommandEncoder();
      return [encoder.beginComputePass(), { q: bare(q), k: bare(k), v: bare(k), out: bare(out) }, encoder];
    },
    run: ({ plan }, pass, tensors) => plan.encode(pass, tensors),
  },
  encodeUpdate: {
    make: ({ on }) => [on.device.createCommandEncoder().beginComputePass(), { learningRate: 0.1, beta1: 0.5, beta2: 0.5, epsilon: 1e-3 }],
    run: ({ layer }, pass, options) => layer.encodeUpdate(pass, options),
  },
  tune: {
    make: ({ q, k }) => [{ q: layoutOf(q), k: layoutOf(k), v: layoutOf(k), isCausal: true }],
    run: async ({ on }, problem) => {
      const onProgress = () => {
        throw stop; // it would take seconds
      };
      await on.tune(problem, { onProgress }).catch((error) => {
        if (error !== stop) throw error;
      });
      return true;
    },
    twin: () => true,
  },
  createAttention: {
    make: ({ on: { device } }) => [
      {
        device,
        powerPreference: undefined,
        tuning: { adapter: 'x', fastest: { a: { algorithm: 'fused', variant: { flash_forward: { TILE_N: 16 } }, milliseconds: 1 } } },
      },
    ],
    run: async (_, options) => (await createAttention(options)).destroy(),
  },
};

const trained: Record<string, Operation> = {
  selfAttention: {
    make: () => [
      rows(),
      {
        queryWeights: heads(1, 4, 4),
        keyWeights: rows().concat(rows()).slice(0, 4),
        outputBias: [1, 2, 3, 4],
        heads: 2,
        scale: 0.5,
        isCausal: true,
        dropout: { probability: 0.5, seed: 3 },
      },
    ],
    run: ({ on }, inputs, options) => {
      if (options === null || typeof options !== 'object') return selfAttention(inputs, options);
      Reflect.defineProperty(options, 'attention', { value: on, configurable: true });
      return selfAttention(inputs, options);
    },
    twin: (_, inputs, options) => reference.selfAttention(inputs, options),
    isAlike: true,
  },
  createTrainableSelfAttention: {
    make: ({ on }) => [on, { ...LAYER, isCausal: true }],
    run: async (_, on, options) => parametersOf(await createTrainableSelfAttention(on, options)),
    twin: (_, __, options) => new reference.TrainableReference(options).parameters(),
  },
  createWordModel: {
    make: ({ on }) => [on, { ...WORDS, heads: 2, isCausal: true, tokenDeviation: 0.1, positionDeviation: 0.1 }],
    run: async (_, on, options) => parametersOf(await createWordModel(on, options)),
    twin: (_, __, options) => new reference.WordModelReference(options).parameters(),
  },
  'plan and forward of a layer': {
    make: () => [{ batch: 1, length: 3, backward: false, returnWeights: false }, [rows()]],
    run: async ({ layer }, options, x) => {
      const plan = await layer.plan(options);
      try {
        return await plan.forward(x);
      } finally {
        plan.destroy();
      }
    },
    twin: (_, __, x) => new reference.TrainableReference(LAYER).forward(x).y,
  },
  load: {
    make: () => [{ queryWeights: heads(1, 4, 4), outputWeights: [...rows(), [1, 1, 1, 1]] }],
    run: async ({ on }, parameters) => {
      const layer = await createTrainableSelfAttention(on, LAYER);
      try {
        layer.load(parameters);
        return await layer.parameters();
      } finally {
        layer.destroy();
      }
    },
    twin: (_, parameters) => {
      const twin = new reference.TrainableReference(LAYER);
      twin.load(parameters);
      return twin.parameters();
    },
    isAlike: true,
  },
  train: {
    make: () => [[[0, 1, 2]], [1, 2, -1], { learningRate: 0.01, beta1: 0.5, beta2: 0.7, epsilon: 1e-3, positionRate: 0.5 }],
    run: async ({ model }, tokens, targets, options) => {
      const plan = await model.plan({ batch: 1, backward: true });
      try {
        model.load(new reference.WordModelReference(WORDS).parameters());
        return [await plan.train(tokens, targets, options), await model.parameters()];
      } finally {
        plan.destroy();
      }
    },
    twin: (_, tokens, targets, options) => {
      const twin = new reference.WordModelReference(WORDS);
      return [twin.train(tokens, targets, options), twin.parameters()];
    },
  },
};

const { softmax, naiveSoftmax, normalizeBySum } = reference;
const lists: Record<string, Operation> = {
  'reference.softmax': { make: () => [[1, 2, 3, 4], 2, [1, 2]], run: (_, ...args) => Reflect.apply(softmax, undefined, args) },
  'reference.naiveSoftmax': { make: () => [[1, 2, 3, 4], 2, 'f32'], run: (_, ...args) => Reflect.apply(naiveSoftmax, undefined, args) },
  'reference.normalizeBySum': { make: () => [[1, 2, 3, 4], 2, 'f32'], run: (_, ...args) => Reflect.apply(normalizeBySum, undefined, args) },
};

/** The parameters that a layer or a model begins with. */
async function parametersOf(made: TrainableSelfAttention | WordModel): Promise<object> {
  const parameters = await made.parameters();
  made.destroy();
  return parameters;
}

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  ...TENSOR_CALLS,
  'reference.backward': {
    make: () => [
      heads(1, 1, 2, 3, 4),
      { q: heads(1, 1, 2, 3, 4), k: heads(2, 1, 1, 5, 4), v: heads(2, 1, 1, 5, 4), out: heads(3, 1, 2, 3, 4), lse: heads(4, 1, 2, 3) },
      { isCausal: true },
    ],
    run: (_, ...args) => Reflect.apply(reference.backward, undefined, args),
  },
  'reference.merge': {
    make: () => [[0, 1].map((seed) => ({ out: heads(seed, 1, 2, 3, 4), lse: heads(seed, 1, 2, 3) }))],
    run: (_, parts) => reference.merge(parts),
  },
  ...plans,
  ...trained,
  ...lists,
};
