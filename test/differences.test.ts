/** What compares numbers for all other tests, the demo and the benchmarks. */
import { describe, expect, test } from 'vitest';
import { greatestError as checkedError } from '../demo/benchmark/gpu.ts';
import { differenceOf, firstDifference, greatestDifference } from '../demo/differences.ts';
import { compare } from '../demo/peers/contest.ts';
import { expectElementsNear } from './fuzz/compare.ts';
import { expectAsGoodAsNaive, expectWithin, LOWEST } from './rig/tolerance.ts';

const { NaN: none, POSITIVE_INFINITY: infinity } = Number;

test.each([
  [2, 5, 3],
  [-1, -1, 0],
  [infinity, infinity, 0],
  [infinity, -infinity, infinity],
  [infinity, 1, infinity],
  [none, 1, none],
  [1, none, none],
  [none, none, none],
  [undefined, 1, none],
  [undefined, undefined, none],
])('%d and %d differ by %d', (actual, expected, difference) => {
  expect(differenceOf(actual, expected)).toBe(difference);
});

describe('greatestDifference', () => {
  test('is the greatest, with its place and the greatest expected number', () => {
    expect(greatestDifference([1, 5, 2], [1, 2, -8])).toEqual({ error: 10, at: 2, largest: 8 });
    expect(greatestDifference([1, 2], [1, 2])).toEqual({ error: 0, at: 0, largest: 2 });
  });

  test.each([0, 1, 2])('NaN as element %i is the greatest, whatever follows', (index) => {
    const wrong = [9, 9, 9].map((value, i) => (i === index ? none : value));
    expect(greatestDifference(wrong, [1, 2, 3])).toEqual({ error: none, at: index, largest: 3 });
    expect(greatestDifference([1, 2, 3], wrong)).toEqual({ error: none, at: index, largest: none });
  });

  test('refuses other lengths, and nothing at all', () => {
    expect(() => greatestDifference([1], [1, 2])).toThrow('1 numbers cannot be compared with 2');
    expect(() => greatestDifference([1, 2], [1])).toThrow('2 numbers cannot be compared with 1');
    expect(() => greatestDifference([], [])).toThrow('There are no numbers to compare');
  });
});

describe('firstDifference', () => {
  test('is the first place beyond what its element is allowed', () => {
    expect(firstDifference([1.1, 2.1, 3.2], [1, 2, 3], () => 0.15)).toBe(2);
    expect(firstDifference([1.1, 2.1, 3.2], [1, 2, 3], (value) => value / 8)).toBe(-1);
    expect(firstDifference([1, 2], [1, 3], (_, i) => i)).toBe(-1);
  });

  test('NaN is beyond every bound, and nothing is within one that is NaN', () => {
    expect(firstDifference([1, none], [1, 2], () => infinity)).toBe(1);
    expect(firstDifference([1, 2], [1, none], () => infinity)).toBe(1);
    expect(firstDifference([1, 2], [1, 2], () => none)).toBe(0);
  });

  test('refuses other lengths, and nothing at all', () => {
    expect(() => firstDifference([1], [1, 2], () => 1)).toThrow('1 numbers cannot be compared with 2');
    expect(() => firstDifference([], [], () => 1)).toThrow('There are no numbers to compare');
  });
});

/** Whatever is made of it notices an answer with one NaN in it, wherever that stands. */
describe.each([0, 1, 2])('NaN as element %i', (index) => {
  const right = [1, 2, 3];
  const wrong = right.map((value, i) => (i === index ? none : value));
  test.each<[string, (actual: number[], expected: number[]) => void]>([
    ['the benchmark', (actual, expected) => checkedError(actual, Float64Array.from(expected))],
    ['as good as naive', (actual, expected) => expectAsGoodAsNaive('x', actual, expected, [1, 2, 4])],
    [
      'as good as naive, beside an excluded one',
      (actual, expected) => expectAsGoodAsNaive('x', [LOWEST, ...actual], [LOWEST, ...expected], [LOWEST, 1, 2, 4]),
    ],
    ['as good as naive, the naive one wrong', (actual, expected) => expectAsGoodAsNaive('x', expected, expected, actual)],
    [
      'the contest',
      (actual, expected) =>
        expect(
          compare(
            actual.map((value) => (Number.isNaN(value) ? null : value)),
            expected,
            1,
          ).isRight,
        ).toBe(true),
    ],
    ['within', (actual, expected) => expectWithin('x', { x: actual }, { x: expected }, 1)],
    ['the fuzzer', (actual, expected) => expectElementsNear('x', actual, expected, () => 1)],
  ])('%s', (_, expectRight) => {
    expectRight(right, right);
    expect(() => expectRight(wrong, right)).toThrow();
    expect(() => expectRight([], [])).toThrow();
  });
});
