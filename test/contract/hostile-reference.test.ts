/** The reference refuses what no caller means with the errors of the GPU's functions, at once. */
import { describe, expect, test } from 'vitest';
import type { AttentionErrorCode } from '../../src/index.ts';
import * as reference from '../../src/reference/index.ts';
import { randomArray } from '../rig/random.ts';
import { bottomless, detached, hostileProxy, outOfBounds, revoked, revokedArray, withHole } from './hostile-values.ts';

const x = { data: randomArray(1, 24), shape: [1, 2, 3, 4] };
const lse = { data: randomArray(2, 6), shape: [1, 2, 3] };
const WORDS = { vocabulary: 4, length: 2, width: 2 };
const { softmax, naiveSoftmax, normalizeBySum } = reference;
const sdpa = (options: object, q: unknown = x) => reference.scaledDotProductAttention(q as typeof x, x, x, options);
const words = () => new reference.WordModelReference(WORDS);
const zeros = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });

type Case = [what: string, code: AttentionErrorCode, quoted: string, call: () => unknown];
const NONE: unknown[] = ['12', null, undefined, 5n, true, Symbol('s'), BigInt64Array.of(1n), [1n], ['1'], new Map(), () => [1]];
const LISTS: Case[] = NONE.flatMap((value): Case[] => [
  [`softmax of ${String(value)}`, 'dtype', 'softmax: scores', () => softmax(value as number[], 1)],
  [`normalizeBySum of ${String(value)}`, 'dtype', 'normalizeBySum: scores', () => normalizeBySum(value as number[], 1)],
  [`naiveSoftmax of ${String(value)}`, 'dtype', 'naiveSoftmax: scores', () => naiveSoftmax(value as number[], 1)],
]).map(([what, code, quoted, call]) => (what.endsWith('[object Map]') ? [what, 'shape', quoted, call] : [what, code, quoted, call]));

const OTHERS: Case[] = [
  ['sinks of null', 'dtype', 'softmax: sinks is null', () => softmax([1], 1, null as never)],
  ['detached scores', 'shape', 'scores is Float32Array(0): its memory is detached', () => softmax(detached(), 1)],
  ['scores beyond their memory', 'shape', 'became too short', () => naiveSoftmax(outOfBounds(), 1)],
  ['scores with a hole', 'dtype', 'scores[1] is undefined', () => softmax(withHole([1, 2, 3], 1), 3)],
  ['rows of 1n', 'shape', 'rows of 1n', () => softmax([1], 1n as never)],
  ['scores of length 2^32', 'shape', 'length is 4294967296', () => softmax({ length: 2 ** 32 }, 1)],
  ['q of text', 'shape', 'q is "abc"', () => sdpa({}, 'abc')],
  ['q of bigint', 'shape', 'q is 5n', () => sdpa({}, 5n)],
  ['q of null', 'shape', 'q is null', () => sdpa({}, null)],
  ['q that refuses every look', 'option', 'q cannot be read', () => sdpa({}, hostileProxy())],
  ['a revoked q', 'option', 'q cannot be read', () => sdpa({}, revoked())],
  ['q without an end', 'dtype', '[0][0] is [[[[[…]]]]]: need a number', () => sdpa({}, bottomless())],
  ['a revoked mask', 'option', 'mask cannot be read', () => sdpa({ mask: revokedArray() })],
  ['key lengths of text', 'shape', 'keyLengths is "3"', () => sdpa({ keyLengths: '3' })],
  ['key lengths of null', 'shape', 'keyLengths is null', () => sdpa({ keyLengths: null })],
  ['too many bigint keys', 'option', 'keyLengths[0] is 18446744073709551616n', () => sdpa({ keyLengths: 2n ** 64n })],
  ['keep of null', 'shape', 'keep is null', () => sdpa({ keep: null, dropout: { probability: 0.5, seed: 1 } })],
  [
    'a hole among parts',
    'shape',
    'parts[1] is undefined',
    () =>
      reference.merge(
        withHole(
          [
            { out: x, lse },
            { out: x, lse },
          ],
          1,
        ),
      ),
  ],
  ['parts of text', 'shape', 'parts is "ab"', () => reference.merge('ab' as never)],
  ['forward of null', 'option', 'forward is null', () => reference.backward(x, null as never)],
  ['lse of a bigint', 'shape', 'lse is 5n', () => reference.backward(x, { q: x, k: x, v: x, out: x, lse: 5n as never })],
  ['scores that are too many', 'limit', 'scores is [1,1,131072,131072]', () => attend(zeros(1, 1, 2 ** 17, 1))],
  ['rows of text', 'shape', 'inputs is "abc"', () => reference.selfAttention('abc' as never)],
  [
    'a projection that is too wide',
    'limit',
    'a projection',
    () => reference.selfAttention(zeros(2 ** 14, 1), { valueWeights: zeros(1, 2 ** 15) }),
  ],
  [
    'an identity that is too wide',
    'limit',
    'the identity',
    () => reference.selfAttention(zeros(1, 2 ** 14), { outputBias: new Float32Array(2 ** 14) }),
  ],
  ['a width of 2^20', 'limit', 'a matrix is [1048576,1048576]', () => new reference.TrainableReference({ width: 2 ** 20 })],
  ['a vocabulary of 2^28', 'limit', 'tokens is [268435456,2]', () => new reference.WordModelReference({ ...WORDS, vocabulary: 2 ** 28 })],
  ['a length of 2^32', 'limit', 'positions is [4294967296,2]', () => new reference.WordModelReference({ ...WORDS, length: 2 ** 32 })],
  ['tokens of text', 'shape', 'tokens is "01"', () => words().forward('01' as never)],
  ['tokens of null', 'shape', 'tokens is null', () => words().forward(null as never)],
  ['tokens with a hole', 'dtype', 'tokens[1] is undefined', () => words().train(withHole([0, 1], 1), [1, 2])],
  ['options of null', 'option', 'train: options are null', () => words().train([0, 1], [1, 2], null as never)],
  ['parameters of null', 'option', 'load: options are null', () => words().load(null as never)],
  ['a matrix of null', 'shape', 'queryWeights is null', () => words().load({ queryWeights: null as never })],
];
const attend = (given: typeof x) => reference.scaledDotProductAttention(given, given, given);

describe.each(Object.entries({ LISTS, OTHERS }))('%s', (_, cases) => {
  test.each(cases)('%s: %s, quotes %s', (_, code, quoted, call) => {
    expect(call).toThrow(expect.objectContaining({ name: 'AttentionError', code, message: expect.stringContaining(quoted) }));
  });
});

test('lists of any numbers, and what is no more than like one, have a softmax', () => {
  const expected = softmax(Float64Array.of(1, 2, 3), 3);
  for (const list of [[1, 2, 3], Int8Array.of(1, 2, 3), Uint16Array.of(1, 2, 3), { ...[1, 2, 3], length: 3 }])
    expect(softmax(list, 3)).toEqual(expected);
});

test('many heads of nothing take no time', () => {
  const none = { data: [], shape: [2 ** 31, 0, 1, 1] };
  expect(reference.scaledDotProductAttention(none, none, none).out.shape).toEqual([2 ** 31, 0, 1, 1]);
});

test('a step that is refused is not counted', () => {
  const [twin, other] = [words(), words()];
  for (let i = 0; i < 3; i++) {
    expect(() => twin.train([0, 1], [1, 9])).toThrow(expect.objectContaining({ code: 'option' }));
    for (const each of [twin, other]) each.train([0, 1], [1, 2], { learningRate: 0.1 });
  }
  expect(twin.parameters()).toEqual(other.parameters());
});
