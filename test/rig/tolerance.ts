import { expect } from 'vitest';

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
  let largest = 0;
  let naiveError = inherited;
  let error = 0;
  let at = 0;
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i]!;
    if (value <= LOWEST) {
      if (actual[i] !== LOWEST) expect.fail(`${what}[${i}] is ${actual[i]}: need the lowest finite f32`);
      continue;
    }
    largest = Math.max(largest, Math.abs(value));
    naiveError = Math.max(naiveError, Math.abs(naive[i]! - value));
    const own = Math.abs(actual[i]! - value);
    if (!(own <= error) && !Number.isNaN(error)) {
      error = own; // also when it is NaN, which then stays
      at = i;
    }
  }
  const allowed = 2 * naiveError + 2 * largest * 2 ** -24;
  if (!(error <= allowed))
    expect.fail(`${what}[${at}] is ${actual[at]}, not ${expected[at]}: error ${error}, allowed ${allowed} (naive ${naiveError})`);
}

/** The greatest difference of two arrays. */
export function greatestError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let error = 0;
  for (let i = 0; i < expected.length; i++) error = Math.max(error, Math.abs(actual[i]! - expected[i]!));
  return error;
}

const largestOf = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);

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
    const got = actual[name]!;
    expect(got.length, `${what} ${name}: length`).toBe(values.length);
    const at = Array.from(values).findIndex((value, i) => !(Math.abs(got[i]! - value) <= allowed));
    if (at >= 0) expect.fail(`${what} ${name}[${at}] is ${got[at]}, not ${values[at]}: allowed ${allowed}`);
  }
}
