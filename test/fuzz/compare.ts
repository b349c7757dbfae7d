/** What numbers of a random problem may be off by. */

export const LOWEST = -3.4028234663852886e38;
/** Scores reach about 20 (see problem.ts), and are right in f32 to about 2e-6; a score's error shows in full in its weight: ten times that is allowed. */
export const F32 = 2e-5;

/** @param allowed relative to the largest value, where that exceeds 1 */
export function compare(what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, allowed: number): void {
  let largest = 1;
  for (let i = 0; i < expected.length; i++) if (expected[i]! > LOWEST) largest = Math.max(largest, Math.abs(expected[i]!));
  compareElements(what, actual, expected, () => allowed * largest);
}

/** @param allowed of an element by its place. Excluded elements must be exactly the lowest finite f32. */
export function compareElements(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: (index: number) => number,
): void {
  if (actual.length !== expected.length) throw new Error(`${what} has ${actual.length} elements, not ${expected.length}`);
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i]!;
    const isRight = value <= LOWEST ? actual[i] === Math.fround(LOWEST) : Math.abs(actual[i]! - value) <= allowed(i);
    if (!isRight) throw new Error(`${what}[${i}] is ${actual[i]}, not ${value}: allowed ${allowed(i)}`);
  }
}
