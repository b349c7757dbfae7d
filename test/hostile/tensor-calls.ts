/** The functions that take tensors on the GPU: their twins take what `download` reads of the same tensors. */
import { elementCount, rowMajor } from '../../src/contract/tensor.ts';
import type { Attention } from '../../src/index.ts';
import * as reference from '../../src/reference/index.ts';
import { project, projectBackward } from '../../src/reference/project.ts';
import { randomArray } from '../rig/random.ts';
import { bare, type Context, hostOf, hostOptions, type Operation, rows, taken } from './context.ts';

const attentionOptions = ({ options }: Context) => ({
  ...{
    scale: 0.5,
    isCausal: false,
    causalOffset: 1,
    window: [3, 2],
    softcap: 3,
    returnLse: true,
    returnScores: 'raw',
    algorithm: 'explicit',
  },
  ...{ mask: bare(options.mask), keyLengths: bare(options.keyLengths), alibiSlopes: bare(options.alibiSlopes), sinks: bare(options.sinks) },
  ...{ dropout: { probability: 0.5, seed: 3 }, variant: { scores: { TILE_N: 16 } } },
});
/** Those options of which fewer are errors together. */
const fewOptions = (context: Context) => ({ isCausal: true, softcap: 2, sinks: bare(context.options.sinks), returnLse: true });

const attend = (make: (context: Context) => object): Operation => ({
  make: (context) => [bare(context.q), bare(context.k), bare(context.k), make(context)],
  run: async ({ on }, q, k, v, options) => taken(on, { ...(await on.scaledDotProductAttention(q, k, v, options)) }),
  twin: async (context, q, k, v, options) => {
    const [hq, hk, hv] = [await hostOf(context, q), await hostOf(context, k), await hostOf(context, v)];
    return reference.scaledDotProductAttention(hq, hk, hv, await hostOptions(context, options));
  },
});

const memory: Record<string, Operation> = {
  upload: {
    make: () => [[...rows()], [3, 4], 'f32'],
    run: async ({ on }, ...args) => taken(on, { made: on.upload(...(args as Parameters<Attention['upload']>)) }),
  },
  empty: {
    make: () => [[2, 3], 'f32'],
    run: ({ on }, shape, dtype) => {
      const made = on.empty(shape, dtype);
      const told = { shape: [...made.shape], dtype: made.dtype };
      on.release(made);
      return told;
    },
    twin: (_, shape, dtype = 'f32') => ({ shape: [...shape], dtype }),
  },
  download: {
    make: ({ q }) => [bare(q)],
    run: ({ on }, tensor) => on.download(tensor),
    twin: ({ q }, { buffer, dtype, shape, offset = 0, strides = rowMajor(shape) }) => {
      if (buffer !== q.buffer || dtype !== 'f32') return undefined;
      const place = (i: number) =>
        rowMajor(shape).reduce((sum, stride, axis) => sum + (Math.floor(i / stride) % shape[axis]) * strides[axis], offset / 4);
      const all = randomArray(1, 24);
      return { data: Float32Array.from({ length: elementCount(shape) }, (_, i) => all[place(i)] ?? Number.NaN), shape: [...shape] };
    },
  },
  release: {
    make: ({ on }) => [bare(on.empty([2, 2])), bare(on.empty([3]))],
    run: ({ on }, ...tensors) => on.release(...tensors),
  },
};

const products: Record<string, Operation> = {
  project: {
    make: ({ q, matrix }) => [bare(q), bare(matrix), { ...bare(matrix), shape: [4], strides: [1] }],
    run: async ({ on }, x, weights, bias) => taken(on, { y: await on.project(x, weights, bias) }),
    twin: async (context, ...tensors) => {
      const [x, w, bias] = await Promise.all(tensors.map((tensor) => hostOf(context, tensor)));
      const data = project(x.data, w.data, bias?.data, w.shape[0], w.shape[1]);
      return { y: { data, shape: [...x.shape.slice(0, -1), w.shape[1]] } };
    },
  },
  projectBackward: {
    make: ({ q, matrix }) => [bare(q), bare(q), bare(matrix)],
    run: async ({ on }, gradient, x, weights) => taken(on, { ...(await on.projectBackward(gradient, x, weights)) }),
    twin: async (context, ...tensors) => {
      const [gradient, x, w] = await Promise.all(tensors.map((tensor) => hostOf(context, tensor)));
      const made = projectBackward(gradient.data, x.data, w.data, w.shape[0], w.shape[1]);
      return {
        ...{ x: { data: made.x, shape: x.shape }, weights: { data: made.weights, shape: w.shape } },
        bias: { data: made.bias, shape: [w.shape[1]] },
      };
    },
  },
  merge: {
    make: ({ out, lse }) => [[0, 1].map(() => ({ out: bare(out), lse: bare(lse) }))],
    run: async ({ on }, parts) => taken(on, { ...(await on.merge(parts)) }),
    twin: async (context, parts) => {
      const read = await Promise.all(
        [...parts].map(async ({ out, lse }) => ({ out: await hostOf(context, out), lse: await hostOf(context, lse) })),
      );
      return { ...reference.merge(read) };
    },
  },
};

export const TENSOR_CALLS: Readonly<Record<string, Operation>> = {
  'scaledDotProductAttention with every option': attend(attentionOptions),
  'scaledDotProductAttention with few options': attend(fewOptions),
  backward: {
    make: (context) => {
      const { q, k, out, lse } = context;
      return [
        bare(q),
        { q: bare(q), k: bare(k), v: bare(k), out: bare(out), lse: bare(lse) },
        { softcap: 0, isCausal: false, mask: bare(context.options.mask), maskGradient: true },
      ];
    },
    run: async ({ on }, gradient, forward, options) => taken(on, { ...(await on.backward(gradient, forward, options)) }),
    twin: async (context, gradient, forward, options) => {
      const read = await Promise.all(['q', 'k', 'v', 'out', 'lse'].map(async (name) => [name, await hostOf(context, forward[name])]));
      return reference.backward(await hostOf(context, gradient), Object.fromEntries(read), await hostOptions(context, options));
    },
  },
  ...memory,
  ...products,
};
