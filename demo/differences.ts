/** How numbers differ from those they should be. Every comparison of the demo and the tests is made here, where NaN cannot pass as right. */

/** |actual − expected|: 0 for the same infinity, NaN where either is NaN or missing. */
export const differenceOf = (actual: number | undefined, expected: number | undefined): number =>
  actual === expected && actual !== undefined ? 0 : Math.abs((actual ?? Number.NaN) - (expected ?? Number.NaN));

export interface Difference {
  readonly error: number; // the greatest of all; NaN where one of them is
  readonly at: number; // its place; the first NaN's where there is one
  readonly largest: number; // the greatest |expected|
}

/**
 * The greatest difference of two arrays.
 * @throws Error when they are not of one length, or empty: a comparison of nothing shows nothing
 */
export function greatestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): Difference {
  expectLengths(actual, expected);
  let error = 0;
  let at = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]!)); // Math.max keeps NaN
    const own = differenceOf(actual[i], expected[i]);
    if (Number.isNaN(error) || own <= error) continue;
    error = own;
    at = i;
  }
  return { error, at, largest };
}

/**
 * The first place where two arrays differ by more than allowed, −1 where there is none.
 * @throws Error as `greatestDifference`
 */
export function firstDifference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: (expected: number, index: number) => number,
): number {
  expectLengths(actual, expected);
  for (let i = 0; i < expected.length; i++) if (!(differenceOf(actual[i], expected[i]) <= allowed(expected[i]!, i))) return i;
  return -1;
}

function expectLengths({ length }: ArrayLike<number>, expected: ArrayLike<number>): void {
  if (length !== expected.length) throw new Error(`${length} numbers cannot be compared with ${expected.length}`);
  if (length === 0) throw new Error('There are no numbers to compare');
}
