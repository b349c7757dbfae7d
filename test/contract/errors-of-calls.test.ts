/** Bad calls of everything beside scaledDotProductAttention: uploads, projections, merges, encode, selfAttention, and what is not there yet. */
import { describe, test } from 'vitest';
import { type Attention, createAttention, selfAttention } from '../../src/index.ts';
import { attention, type Case, expectAttentionError, k, layout, plan, q, raw, released, theirs, useTensors, v } from './bad-input.ts';

useTensors();

const LATER: Case[] = [
  [
    'planning backward of scores',
    'option',
    'returnScores is "raw"',
    () => attention.plan({ q, k, v, backward: true, returnScores: 'raw' }),
  ],
  ['backward without a forward pass', 'option', 'q is missing', () => attention.backward(q, {} as never)],
  ['tuning a wrong problem', 'shape', 'B must be equal', () => attention.tune({ q, k: { ...k, shape: [1, 1, 5, 9] }, v })],
  ['returnLse "x" with backward', 'option', '"x"', () => attention.plan({ q, k, v, backward: true, returnLse: 'x' as never })],
  ['tuning a forced algorithm', 'option', 'algorithm is "fused"', () => attention.tune({ q, k, v, algorithm: 'fused' })],
  ['tuning a forced variant', 'option', 'variant {scores}', () => attention.tune({ q, k, v, variant: { scores: { TILE_N: 16 } } })],
  ['encodeBackward of a forward plan', 'option', 'without backward', () => plan.encodeBackward({} as GPUComputePassEncoder, {} as never)],
  ['a tuning that is none', 'option', '{}', () => createAttention({ tuning: {} as never })],
];

const TENSORS: Case[] = [
  ['too few elements', 'shape', '3 elements for shape [2,2]', () => attention.upload([1, 2, 3], [2, 2])],
  ['a shape of null', 'shape', 'null', () => attention.upload([1], null as never)],
  ['data that is none', 'dtype', '"12"', () => attention.upload('12' as never, [2])],
  ['an array of strings', 'dtype', '"b"', () => attention.upload([1, 'b'] as never, [2])],
  ['floats as u32', 'dtype', '"u32"', () => attention.upload(new Float32Array(2), [2], 'u32')],
  ['BigInt64Array as floats', 'dtype', 'BigInt64Array(2) becomes u32 or bool', () => attention.upload(new BigInt64Array(2), [2], 'f32')],
  ['an unknown dtype', 'dtype', '"bf16"', () => attention.empty([2], 'bf16' as never)],
  ['a negative size', 'shape', '[2,-1]', () => attention.empty([2, -1])],
  ['a tensor beyond maxBufferSize', 'limit', 'maxBufferSize', () => attention.empty([2 ** 30])],
  ['a projection of another width', 'shape', '[5,2]', () => attention.project(v, { ...q, shape: [5, 2] })],
  ['a projection with another bias', 'shape', '[3]', () => attention.project(q, { ...k, shape: [5, 2] }, { ...v, shape: [3] })],
  [
    'a projection of uneven rows',
    'shape',
    'equally far apart',
    () => attention.project({ ...q, shape: [2, 2, 5], strides: [11, 5, 1] }, { ...k, shape: [5, 2] }),
  ],
  ['a projection of a released tensor', 'option', 'was released', () => attention.project(released, { ...k, shape: [5, 2] })],
  ['a merge of null', 'shape', 'parts[0] is null', () => attention.merge([null as never])],
  ['a merge of nothing', 'shape', '[]', () => attention.merge([])],
  [
    'a merge of different shapes',
    'shape',
    'parts[1].out',
    () =>
      attention.merge([
        { out: q, lse: { ...q, shape: [2, 4, 3] } },
        { out: { ...q, shape: [2, 4, 3, 4] }, lse: { ...q, shape: [2, 4, 3] } },
      ]),
  ],
  ['a merge with another lse', 'shape', '[2,4,5]', () => attention.merge([{ out: q, lse: { ...q, shape: [2, 4, 5] } }])],
  [
    'a merge of a released part',
    'option',
    'was released',
    () => attention.merge([{ out: released, lse: { ...released, shape: [2, 2, 6] } }]),
  ],
  [
    'a gradient that differs in the last of nine axes',
    'shape',
    'need a gradient of',
    () => {
      const deep = (...last: number[]) => attention.empty([...Array<number>(7).fill(1), ...last]);
      return attention.projectBackward(deep(2, 4), deep(2, 3), attention.empty([3, 5]));
    },
  ],
  [
    'a merge of a part that spans more than a binding',
    'limit',
    'parts[0].out',
    () => {
      const out = { ...attention.empty([36e6]), shape: [1, 1, 2, 64], strides: [1, 1, 35e6, 1] };
      return attention.merge([{ out, lse: attention.empty([1, 1, 2]) }]);
    },
  ],
  ['an unknown option of createAttention', 'option', '"gpu"', () => createAttention({ gpu: 1 } as object)],
  ['a device that is none', 'option', '{}', () => createAttention({ device: {} as GPUDevice })],
  ['an unknown powerPreference', 'option', '"fast"', () => createAttention({ powerPreference: 'fast' as never })],
];

const pass = {} as GPUComputePassEncoder; // never reached
const encode = (change: object) => {
  const out = { ...layout(2, 4, 3, 7), buffer: raw(4096, GPUBufferUsage.STORAGE) };
  const lse = { ...layout(2, 4, 3), buffer: raw(4096, GPUBufferUsage.STORAGE) };
  plan.encode(pass, { q, k, v, out, lse, workspace: raw(plan.workspaceBytes, GPUBufferUsage.STORAGE), ...change });
};
const ENCODE: Case[] = [
  ['another shape', 'shape', '[2,4,3,4]', () => encode({ q: { ...q, shape: [2, 4, 3, 4] } })],
  ['another dtype', 'dtype', 'u32', () => encode({ q: { ...q, dtype: 'u32' } })],
  ['other strides', 'shape', 'strides [60,5,20,1]', () => encode({ q: { ...q, strides: [60, 5, 20, 1] } })],
  [
    'another offset modulo the alignment',
    'shape',
    'offsets modulo 256: 4 and 0',
    () => encode({ out: { ...layout(2, 4, 3, 7), offset: 4, buffer: raw(4096, GPUBufferUsage.STORAGE) } }),
  ],
  ['no tensors', 'option', 'undefined', () => plan.encode(pass, undefined as never)],
  ['lse missing', 'option', 'lse is missing', () => encode({ lse: undefined })],
  ['a tensor the plan has not', 'option', 'mask', () => encode({ mask: q })],
  ['a tensor nobody knows', 'option', '"bias"', () => encode({ bias: q })],
  ['no workspace', 'option', 'workspace is missing', () => encode({ workspace: undefined })],
  ['a workspace too small', 'shape', 'its buffer has 16', () => encode({ workspace: raw(16, GPUBufferUsage.STORAGE) })],
  ['a workspace without STORAGE', 'option', 'STORAGE', () => encode({ workspace: raw(4096, GPUBufferUsage.COPY_DST) })],
  ['a released tensor', 'option', 'was released', () => encode({ k: released })],
  ['a tensor of another Attention', 'option', 'another Attention', () => encode({ k: theirs })],
  [
    'out in the buffer of q',
    'option',
    'out shares its GPUBuffer with q',
    () => {
      const buffer = raw(8192, GPUBufferUsage.STORAGE);
      encode({ q: { ...q, buffer }, out: { ...layout(2, 4, 3, 7), offset: 4096, buffer } });
    },
  ],
  [
    'workspace in the buffer of k',
    'option',
    'workspace shares its GPUBuffer with k',
    () => {
      const buffer = raw(8192, GPUBufferUsage.STORAGE);
      encode({ k: { ...k, offset: 4096, buffer }, workspace: buffer });
    },
  ],
  [
    'out over lse',
    'option',
    'shares its GPUBuffer',
    () => {
      const buffer = raw(8192, GPUBufferUsage.STORAGE);
      encode({ out: { ...layout(2, 4, 3, 7), buffer }, lse: { ...layout(2, 4, 3), offset: 256, buffer } });
    },
  ],
];

const rows = [
  [1, 2],
  [3, 4],
];
const SELF: Case[] = [
  ['no rows', 'shape', '[]', () => selfAttention([], { attention })],
  ['an empty row', 'shape', '[[]]', () => selfAttention([[]], { attention })],
  ['uneven rows', 'shape', 'inputs[1] is [3]', () => selfAttention([[1, 2], [3]], { attention })],
  ['a string', 'dtype', 'inputs[0][1] is "2"', () => selfAttention([[1, '2']] as never, { attention })],
  ['plain text', 'shape', '"Your journey"', () => selfAttention('Your journey' as never, { attention })],
  ['rank 4', 'shape', '[1,1,1,1]', () => selfAttention({ data: new Float32Array(1), shape: [1, 1, 1, 1] }, { attention })],
  ['too few elements', 'shape', '3 elements', () => selfAttention({ data: new Float32Array(3), shape: [2, 2] }, { attention })],
  [
    'weights of another width',
    'shape',
    '[3,2]',
    () =>
      selfAttention(rows, {
        attention,
        queryWeights: [
          [1, 1],
          [1, 1],
          [1, 1],
        ],
      }),
  ],
  [
    'queries and keys of different widths',
    'shape',
    'queries have 3 numbers, keys 2',
    () =>
      selfAttention(rows, {
        attention,
        queryWeights: [
          [1, 1, 1],
          [1, 1, 1],
        ],
      }),
  ],
  ['heads that do not divide', 'shape', 'heads is 3', () => selfAttention(rows, { attention, heads: 3 })],
  ['half a head', 'option', '0.5', () => selfAttention(rows, { attention, heads: 0.5 })],
  ['a bias of another width', 'shape', '[3]', () => selfAttention(rows, { attention, outputBias: [1, 2, 3] })],
  ['a scale of NaN', 'option', 'NaN', () => selfAttention(rows, { attention, scale: Number.NaN })],
  ['isCausal "no"', 'option', '"no"', () => selfAttention(rows, { attention, isCausal: 'no' as never })],
  ['options that are null', 'option', 'null', () => selfAttention(rows, null as never)],
  ['a scale of null', 'option', 'null', () => selfAttention(rows, { attention, scale: null as never })],
  ['an attention of null', 'option', 'null', () => selfAttention(rows, { attention: null as never })],
  [
    'dropout of everything',
    'option',
    'selfAttention: dropout.probability is 1',
    () => selfAttention(rows, { attention, dropout: { probability: 1, seed: 0 } }),
  ],
  ['an unknown option', 'option', '"head"', () => selfAttention(rows, { attention, head: 2 } as object)],
  ['an attention that is none', 'option', '{}', () => selfAttention(rows, { attention: {} as Attention })],
];

describe.each(Object.entries({ LATER, TENSORS, ENCODE, SELF }))('%s', (_, cases) => {
  test.each(cases)('%s: %s, quotes %s', (...parts) => expectAttentionError(parts));
});
