/** Bad tensors and options: an AttentionError with the right code and the offending value, before anything reaches the GPU. */
import { describe, expect, test } from 'vitest';
import type { AttentionProblem, GpuTensor } from '../../src/index.ts';
import {
  attention,
  type Case,
  expectAttentionError,
  foreignDevice,
  k,
  layout,
  q,
  raw,
  released,
  sdpa,
  theirs,
  useTensors,
  v,
} from './bad-input.ts';

useTensors();

const SHAPES: Case[] = [
  ['q is no tensor', 'shape', 'null', () => sdpa(null, k, v)],
  ['q has no shape', 'shape', 'undefined', () => sdpa({ buffer: q.buffer, dtype: 'f32' }, k, v)],
  ['q of rank 3', 'shape', '[8,3,5]', () => sdpa({ ...q, shape: [8, 3, 5] }, k, v)],
  ['k of rank 5', 'shape', '[1,2,2,6,5]', () => sdpa(q, { ...k, shape: [1, 2, 2, 6, 5] }, v)],
  ['an empty shape', 'shape', '[]', () => sdpa({ ...q, shape: [] }, k, v)],
  ['heads of size 0', 'shape', '[2,4,3,0]: D must be', () => sdpa({ ...q, shape: [2, 4, 3, 0] }, { ...k, shape: [2, 2, 6, 0] }, v)],
  ['a negative size', 'shape', '-3', () => sdpa({ ...q, shape: [2, 4, -3, 5] }, k, v)],
  ['a fractional size', 'shape', '2.5', () => sdpa({ ...q, shape: [2, 4, 2.5, 5] }, k, v)],
  ['a size that is NaN', 'shape', 'NaN', () => sdpa({ ...q, shape: [2, 4, Number.NaN, 5] }, k, v)],
  ['a size that is a string', 'shape', '"3"', () => sdpa({ ...q, shape: [2, 4, '3', 5] }, k, v)],
  ['B of k differs', 'shape', 'B must be equal', () => sdpa({ ...q, shape: [1, 4, 3, 5] }, k, v)],
  ['B of v differs', 'shape', '[1,2,6,7]', () => sdpa(q, k, { ...v, shape: [1, 2, 6, 7] })],
  ['D differs', 'shape', 'k is [2,2,6,7], q is [2,4,3,5]: D must be equal', () => sdpa(q, v, v)],
  ['Hk does not divide H', 'shape', 'the 2 key heads must divide the 3 query heads', () => sdpa({ ...q, shape: [2, 3, 3, 5] }, k, v)],
  ['heads of v differ', 'shape', '[2,1,6,7]', () => sdpa(q, k, { ...v, shape: [2, 1, 6, 7] })],
  ['M of v differs', 'shape', '[2,2,5,7]', () => sdpa(q, k, { ...v, shape: [2, 2, 5, 7] })],
  ['a negative offset', 'shape', '-4', () => sdpa({ ...q, offset: -4 }, k, v)],
  ['an offset that is no multiple of 4', 'shape', '6', () => sdpa({ ...q, offset: 6 }, k, v)],
  ['too few strides', 'shape', '[15,5,1]', () => sdpa({ ...q, strides: [15, 5, 1] }, k, v)],
  ['a last stride of 2', 'shape', '[120,30,10,2]', () => sdpa({ ...q, strides: [120, 30, 10, 2] }, k, v)],
  ['a negative stride', 'shape', '-15', () => sdpa({ ...q, strides: [60, -15, 5, 1] }, k, v)],
  ['a fractional stride', 'shape', '7.5', () => sdpa({ ...q, strides: [60, 15, 7.5, 1] }, k, v)],
  ['a view beyond its buffer', 'shape', 'its buffer has', () => sdpa({ ...q, offset: 400 }, k, v)],
  ['more elements than u32 counts', 'limit', '8589934592', () => sdpa({ ...q, shape: [2, 2 ** 30, 2, 2] }, k, v)],
];

const BUFFERS: Case[] = [
  ['no buffer', 'option', 'undefined', () => sdpa(layout(2, 4, 3, 5), k, v)],
  ['a buffer that only looks like one', 'option', '{size, usage}', () => sdpa({ ...q, buffer: { size: 1e6, usage: 128 } }, k, v)],
  ['a buffer that is none', 'option', 'Float32Array', () => sdpa({ ...q, buffer: new Float32Array(120) }, k, v)],
  ['a tensor of another Attention', 'option', 'another Attention', () => sdpa(q, theirs, v)],
  ['a released tensor', 'option', 'was released', () => sdpa(q, released, v)],
  ['a view of a released tensor', 'option', 'was released', () => sdpa(q, { ...released, offset: 0 }, v)],
  ['a buffer without STORAGE', 'option', 'STORAGE', () => sdpa({ ...q, buffer: raw(4096, GPUBufferUsage.COPY_DST) }, k, v)],
  [
    'a buffer of another device',
    'option',
    'WebGPU refused',
    () => sdpa({ ...q, buffer: raw(4096, GPUBufferUsage.STORAGE, foreignDevice) }, k, v),
  ],
  ['a download without COPY_SRC', 'option', 'COPY_SRC', () => attention.download({ ...q, buffer: raw(4096, GPUBufferUsage.STORAGE) })],
  ['a download of another Attention', 'option', 'another Attention', () => attention.download(theirs)],
  ['a download of a released tensor', 'option', 'was released', () => attention.download(released)],
  ['a release of a released tensor', 'option', 'was released', () => attention.release(released)],
  ['a released tensor whose buffer is in use again', 'option', 'was released', () => attention.download(reissued())],
  ['a release of another Attention', 'option', 'another Attention', () => attention.release(theirs)],
  [
    'a release of a foreign buffer',
    'option',
    'did not make',
    () => attention.release({ ...layout(4), buffer: raw(64, GPUBufferUsage.STORAGE) }),
  ],
];

/** A released tensor, and another in its buffer. */
function reissued(): GpuTensor {
  const size = 12345; // nobody else's here
  const first = attention.empty([size]);
  attention.release(first);
  const second = attention.empty([size]);
  expect(second.buffer).toBe(first.buffer);
  return first;
}

const DTYPES: Case[] = [
  ['an unknown dtype', 'dtype', '"f64"', () => sdpa({ ...q, dtype: 'f64' }, k, v)],
  ['q of u32', 'dtype', 'u32', () => sdpa({ ...q, dtype: 'u32' }, k, v)],
  ['v of bool', 'dtype', 'bool', () => sdpa(q, k, { ...v, dtype: 'bool' })],
  ['q of f16 without shader-f16', 'unsupported', 'shader-f16', () => sdpa({ ...q, dtype: 'f16' }, k, v)],
  ['k of f16 and v of f32', 'dtype', 'the types must be equal', () => sdpa(q, { ...k, dtype: 'f16' }, v)],
  ['alibiSlopes of u32', 'dtype', 'u32', () => sdpa(q, k, v, { alibiSlopes: { ...q, shape: [4], dtype: 'u32' } })],
  ['a mask of u32', 'dtype', 'u32', () => sdpa(q, k, v, { mask: { ...q, shape: [6], dtype: 'u32' } })],
  ['key lengths of f32', 'dtype', 'f32', () => sdpa(q, k, v, { keyLengths: { ...q, shape: [2] } })],
];

const OPTIONS: Case[] = [
  ['an unknown option', 'option', '"causal"', () => sdpa(q, k, v, { causal: true })],
  ['options that are none', 'option', '5', () => sdpa(q, k, v, 5 as never)],
  ['a scale of NaN', 'option', 'NaN', () => sdpa(q, k, v, { scale: Number.NaN })],
  ['an infinite scale', 'option', 'Infinity', () => sdpa(q, k, v, { scale: Infinity })],
  ['a scale that is a string', 'option', '"1"', () => sdpa(q, k, v, { scale: '1' })],
  ['isCausal 1', 'option', '1', () => sdpa(q, k, v, { isCausal: 1 })],
  [
    'a causalOffset too far for ALiBi',
    'limit',
    '268435457',
    () => sdpa(q, k, v, { alibiSlopes: { ...q, shape: [4] }, causalOffset: 2 ** 28 + 1 }),
  ],
  ['a fractional causalOffset', 'option', '0.5', () => sdpa(q, k, v, { isCausal: true, causalOffset: 0.5 })],
  ['an unknown causalOffset', 'option', '"upper-left"', () => sdpa(q, k, v, { causalOffset: 'upper-left' })],
  ['a negative softcap', 'option', '-1', () => sdpa(q, k, v, { softcap: -1 })],
  ['a softcap that is a string', 'option', '"5"', () => sdpa(q, k, v, { softcap: '5' })],
  ['a BigInt softcap', 'option', '5', () => sdpa(q, k, v, { softcap: 5n })],
  ['a softcap of NaN', 'option', 'NaN', () => sdpa(q, k, v, { softcap: Number.NaN })],
  ['a scale beyond f32', 'option', '1e+39', () => sdpa(q, k, v, { scale: 1e39 })],
  ['a softcap beyond f32', 'option', '1e+39', () => sdpa(q, k, v, { softcap: 1e39 })],
  ['a softcap below f32', 'option', '1e-46', () => sdpa(q, k, v, { softcap: 1e-46 })],
  ['options in an array', 'option', '[]', () => sdpa(q, k, v, [])],
  ['an unknown returnScores', 'option', '"logits"', () => sdpa(q, k, v, { returnScores: 'logits' })],
  ['returnLse "yes"', 'option', '"yes"', () => sdpa(q, k, v, { returnLse: 'yes' })],
  ['a window of one number', 'option', '[3]', () => sdpa(q, k, v, { window: [3] })],
  ['a negative window', 'option', '-1', () => sdpa(q, k, v, { window: [-1, 2] })],
  ['a fractional window', 'option', '1.5', () => sdpa(q, k, v, { window: [1, 1.5] })],
  ['a window of NaN', 'option', 'NaN', () => sdpa(q, k, v, { window: [Number.NaN, 1] })],
  ['dropout of everything', 'option', '1', () => sdpa(q, k, v, { dropout: { probability: 1, seed: 0 } })],
  ['negative dropout', 'option', '-0.1', () => sdpa(q, k, v, { dropout: { probability: -0.1, seed: 0 } })],
  ['dropout without a seed', 'option', 'undefined', () => sdpa(q, k, v, { dropout: { probability: 0.1 } })],
  ['a fractional seed', 'option', '0.5', () => sdpa(q, k, v, { dropout: { probability: 0.1, seed: 0.5 } })],
  ['dropout as a number', 'option', '0.1', () => sdpa(q, k, v, { dropout: 0.1 })],
  ['slopes for other heads', 'shape', '[3]', () => sdpa(q, k, v, { alibiSlopes: { ...q, shape: [3] } })],
  ['sinks of rank 2', 'shape', '[4,1]', () => sdpa(q, k, v, { sinks: { ...q, shape: [4, 1] } })],
  [
    'fused with scores',
    'unsupported',
    'scaledDotProductAttention: algorithm is "fused": returnScores is "raw"',
    () => sdpa(q, k, v, { algorithm: 'fused', returnScores: 'raw' }),
  ],
  ['fused with a large head', 'unsupported', 'Dv 257', () => attention.plan({ q, k, v: layout(2, 2, 6, 257), algorithm: 'fused' })],
  ['an unknown algorithm', 'option', '"flash"', () => sdpa(q, k, v, { algorithm: 'flash' })],
  ['a mask that does not broadcast', 'shape', '[5]', () => sdpa(q, k, v, { mask: { ...q, shape: [5] } })],
  ['a mask of rank 5', 'shape', '[1,1,1,1,6]', () => sdpa(q, k, v, { mask: { ...q, shape: [1, 1, 1, 1, 6] } })],
  ['key lengths for another B', 'shape', '[3]', () => sdpa(q, k, v, { keyLengths: { ...q, dtype: 'u32', shape: [3] } })],
  [
    'key lengths of [1,B]',
    'shape',
    '[1,2]: need [B] = [2] or [2,1]',
    () => sdpa(q, k, v, { keyLengths: { ...q, dtype: 'u32', shape: [1, 2] } }),
  ],
  [
    'key lengths that are a column of a matrix',
    'shape',
    'strides [4,1]',
    () => sdpa(q, k, v, { keyLengths: { ...q, dtype: 'u32', shape: [2, 1], strides: [4, 1] } }),
  ],
  [
    'scores beyond a binding',
    'limit',
    'maxStorageBufferBindingSize',
    () => attention.plan({ algorithm: 'explicit', q: layout(1, 8, 4096, 4), k: layout(1, 8, 4096, 4), v: layout(1, 8, 4096, 4) }),
  ],
  [
    'an output whose rows overlap',
    'shape',
    'overlap',
    () => attention.plan({ q, k, v, out: { ...layout(2, 4, 3, 7), strides: [84, 21, 6, 1] } }),
  ],
  ['an output that repeats', 'shape', 'overlap', () => attention.plan({ q, k, v, out: { ...layout(2, 4, 3, 7), strides: [0, 21, 7, 1] } })],
  ['an output of another shape', 'shape', '[2,4,3,5]', () => attention.plan({ q, k, v, out: layout(2, 4, 3, 5) })],
  ['a problem without k', 'shape', 'undefined', () => attention.plan({ q, v } as unknown as AttentionProblem)],
];

describe.each(Object.entries({ SHAPES, BUFFERS, DTYPES, OPTIONS }))('%s', (_, cases) => {
  test.each(cases)('%s: %s, quotes %s', (...parts) => expectAttentionError(parts));
});
