/** What numbers of a random problem may be off by. */
import { firstDifference } from '../../demo/differences.ts';

export const LOWEST = -3.4028234663852886e38;
/** Scores reach about 20 (see problem.ts), and are right in f32 to about 2e-6; a score's error shows in full in its weight: ten times that is allowed. */
export const F32 = 2e-5;

/** @param allowed relative to the largest value, where that exceeds 1 */
export function expectNearLargest(what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, allowed: number): void {
  let largest = 1;
  for (let i = 0; i < expected.length; i++) if (expected[i]! > LOWEST) largest = Math.max(largest, Math.abs(expected[i]!));
  expectElementsNear(what, actual, expected, () => allowed * largest);
}

/** @param allowed of an element by its index. Excluded elements must be exactly the lowest finite f32. */
export function expectElementsNear(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: (index: number) => number,
): void {
  if (actual.length !== expected.length) throw new Error(`${what} has ${actual.length} elements, not ${expected.length}`);
  const f32 = Float64Array.from(expected, (value) => (value <= LOWEST ? Math.fround(LOWEST) : value));
  const at = firstDifference(actual, f32, (value, i) => (value <= LOWEST ? 0 : allowed(i)));
  if (at >= 0) throw new Error(`${what}[${at}] is ${actual[at]}, not ${expected[at]}: allowed ${allowed(at)}`);
}
