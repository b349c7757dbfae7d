import { expect } from 'vitest';
import { firstDifference, greatestDifference } from '../../demo/differences.ts';

/** What an excluded element holds. */
export const LOWEST = Math.fround(-3.4028234663852886e38);

/**
 * Expects an error of at most twice that of a naive implementation in the same precision on the same device, plus two roundings of
 * the largest value. Elements that are excluded (the lowest finite f32) must be exactly that.
 * @param expected in f64
 * @param inherited the naive implementation's error in what the value is made of, where that passes through undiminished: a log-sum-exp is as far
 *   off as the row's scores are, and a few of them may be right by luck
 */
export function expectAsGoodAsNaive(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  naive: ArrayLike<number>,
  inherited = 0,
): void {
  expect(actual.length, `${what}: length`).toBe(expected.length);
  const isExcluded = (i: number) => expected[i]! <= LOWEST;
  for (let i = 0; i < expected.length; i++)
    if (isExcluded(i) && actual[i] !== LOWEST) expect.fail(`${what}[${i}] is ${actual[i]}: need the lowest finite f32`);
  const others = (values: ArrayLike<number>) => Array.from(values, (value, i) => (isExcluded(i) ? 0 : value));
  const { error, at, largest } = greatestDifference(others(actual), others(expected));
  const naiveError = Math.max(inherited, greatestDifference(others(naive), others(expected)).error);
  const allowed = 2 * naiveError + 2 * largest * 2 ** -24;
  if (!(error <= allowed))
    expect.fail(`${what}[${at}] is ${actual[at]}, not ${expected[at]}: error ${error}, allowed ${allowed} (naive ${naiveError})`);
}

/** The greatest difference of two arrays. */
export const greatestError = (actual: ArrayLike<number>, expected: ArrayLike<number>): number => greatestDifference(actual, expected).error;

const largestOf = (values: ArrayLike<number>): number => greatestDifference(values, values).largest;

/** Expects that the arrays differ by no more than is allowed for each element. */
export function expectNear(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: number | ((expected: number, index: number) => number),
): void {
  const at = firstDifference(actual, expected, typeof allowed === 'number' ? () => allowed : allowed);
  if (at >= 0) expect.fail(`${what}[${at}] is ${actual[at]}, not ${expected[at]}`);
}

/**
 * Expects errors of at most `within` times each tensor's largest value, and one rounding of the largest of all: where one is tiny beside the
 * others, such as the gradient of q when the softmax is nearly one-hot, its relative error is that of a score's last bit.
 * @param roundings more of them where many terms cancel
 */
export function expectWithin(
  what: string,
  actual: Readonly<Record<string, ArrayLike<number>>>,
  expected: Readonly<Record<string, ArrayLike<number>>>,
  within: number,
  roundings = 1,
): void {
  expect(Object.keys(actual).sort(), what).toEqual(Object.keys(expected).sort());
  const rounding = roundings * 2 ** -24 * Math.max(...Object.values(expected).map(largestOf));
  for (const [name, values] of Object.entries(expected)) {
    const allowed = within * largestOf(values) + rounding;
    expectNear(`${what} ${name}, allowed ${allowed},`, actual[name]!, values, allowed);
  }
}
