/** The reference on arrays of another realm, as jest's and Electron's are: made by node:vm. */
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { scaledDotProductAttention, selfAttention } from '../../src/reference/index.ts';

test('arrays of a vm context give what arrays of this realm give', () => {
  const theirs = runInNewContext(
    '({ data: Float32Array.of(1, 2, -1, 0.5, 3, 1), rows: [[1, 2], [-1, 0.5], [3, 1]], lengths: BigInt64Array.of(2n), mask: Uint8Array.of(1, 0, 1) })',
  );
  expect(theirs.data instanceof Float32Array || theirs.lengths instanceof BigInt64Array).toBe(false);
  const expected = selfAttention([
    [1, 2],
    [-1, 0.5],
    [3, 1],
  ]);
  expect(selfAttention(theirs.rows)).toEqual(expected);
  expect(selfAttention({ data: theirs.data, shape: [3, 2] })).toEqual(expected);
  const ours = { data: Float32Array.from(theirs.data as number[]), shape: [1, 1, 3, 2] };
  const x = { data: theirs.data, shape: [1, 1, 3, 2] };
  expect(scaledDotProductAttention(x, x, x, { keyLengths: theirs.lengths, mask: { data: theirs.mask, shape: [3] } })).toEqual(
    scaledDotProductAttention(ours, ours, ours, { keyLengths: [2], mask: { data: [true, false, true], shape: [3] } }),
  );
});

test('quotes what it refuses by its tag', () => {
  expect(() => selfAttention(runInNewContext('new Int16Array(3)'))).toThrow('selfAttention: inputs is Int16Array(3): need numbers');
});
