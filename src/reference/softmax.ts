import { AttentionError, quote } from '../contract/errors.ts';
import { readNumbers } from '../contract/host-array.ts';
import { isExcluded, LOWEST } from './scores.ts';

/** Precision of the naive normalisations. f32: every intermediate result is rounded to f32, as in a naive GPU kernel. */
export type Precision = 'f64' | 'f32';

/**
 * Row-wise softmax that does not overflow, in f64: the twin of `shaders/softmax.wgsl`.
 * It is exp(s − max) / Σ exp(s − max). The maximum cancels, and no exponent is above 0. Excluded elements have weight 0.
 * @param given rows of `length` scores, masked
 * @param givenSinks one more score for each row, only in the denominator; default none
 * @returns weights: rows that sum to 1, to less with a sink, to 0 where every element is excluded; lse: the natural log of each row's denominator
 * @throws AttentionError 'shape' where `scores` are no whole rows, or where there is not one sink for each row
 */
export function softmax(
  given: ArrayLike<number>,
  length: number,
  givenSinks?: ArrayLike<number>,
): { weights: Float64Array; lse: Float64Array } {
  const scores = readNumbers('softmax: scores', given);
  const sinks = givenSinks === undefined ? undefined : readNumbers('softmax: sinks', givenSinks);
  const rows = checkRows('softmax', scores, length);
  if (sinks && sinks.length !== rows)
    throw new AttentionError('shape', `softmax: ${sinks.length} sinks for ${rows} rows: need one for each`);
  const weights = new Float64Array(scores.length);
  const lse = new Float64Array(rows).fill(LOWEST);
  for (let row = 0; row < rows; row++) {
    const start = row * length;
    const sink = sinks?.[row] === -Infinity ? undefined : sinks?.[row];
    let max = sink ?? LOWEST;
    for (let i = start; i < start + length; i++) if (!isExcluded(scores[i]!)) max = Math.max(max, scores[i]!);
    let sum = sink === undefined ? 0 : Math.exp(sink - max);
    for (let i = start; i < start + length; i++) {
      weights[i] = isExcluded(scores[i]!) ? 0 : Math.exp(scores[i]! - max);
      sum += weights[i]!;
    }
    if (sum === 0) continue; // the row sees neither key nor sink
    for (let i = start; i < start + length; i++) weights[i]! /= sum;
    lse[row] = max + Math.log(sum);
  }
  return { weights, lse };
}

/**
 * For teaching: each score divided by its row's sum. The result is no distribution when scores are negative, and is NaN or infinite when they sum to 0.
 * @param scores rows of `length`
 * @param precision default f64
 * @returns rows of `length`
 * @throws AttentionError 'shape', 'option'
 */
export function normalizeBySum(scores: ArrayLike<number>, length: number, precision: Precision = 'f64'): Float64Array {
  const numbers = readNumbers('normalizeBySum: scores', scores);
  return divideBySum('normalizeBySum', Float64Array.from(numbers, rounding('normalizeBySum', precision)), length, precision);
}

/**
 * For teaching: exp(s) / Σ exp(s) without subtracting the maximum. In f32 exp overflows above 88.7, and ∞ / ∞ is NaN. It underflows to 0 below −103.9,
 * and 0 / 0 is NaN when the whole row underflows.
 * @param scores rows of `length`
 * @param precision default f64
 * @returns rows of `length`
 * @throws AttentionError 'shape', 'option'
 */
export function naiveSoftmax(scores: ArrayLike<number>, length: number, precision: Precision = 'f64'): Float64Array {
  const round = rounding('naiveSoftmax', precision);
  const powers = Float64Array.from(readNumbers('naiveSoftmax: scores', scores), (score) => round(Math.exp(round(score))));
  return divideBySum('naiveSoftmax', powers, length, precision);
}

function divideBySum(caller: string, values: Float64Array, length: number, precision: Precision): Float64Array {
  const round = rounding(caller, precision);
  for (let start = 0; start < checkRows(caller, values, length) * length; start += length) {
    let sum = 0;
    for (let i = start; i < start + length; i++) sum = round(sum + values[i]!);
    for (let i = start; i < start + length; i++) values[i] = round(values[i]! / sum);
  }
  return values;
}

function rounding(caller: string, precision: Precision): (x: number) => number {
  if (precision !== 'f64' && precision !== 'f32')
    throw new AttentionError('option', `${caller}: precision is ${quote(precision)}: need f64 or f32`);
  return precision === 'f32' ? Math.fround : (x) => x;
}

function checkRows(caller: string, scores: ArrayLike<number>, length: number): number {
  if (!Number.isSafeInteger(length) || length < 1 || scores.length % length !== 0) {
    throw new AttentionError('shape', `${caller}: ${scores.length} scores in rows of ${quote(length)}: need whole rows`);
  }
  return scores.length / length;
}
