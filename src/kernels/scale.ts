import type { Problem } from '../problem.ts';
import type { Param } from './kernel.ts';

/** Binary digits of a small scale that are left for after the products. */
const DIGITS_AFTER = 24;

/**
 * A scale as two factors: `before`, a power of 2 that multiplies one side of a dot product, and `after`, which multiplies the product. Products of
 * large numbers with a small scale then overflow only where the scores do; for a power of 2 changes no digit. Scales of 1 and more stay after.
 * The smaller the scale, the more elements become too small for a normal f32 before the product; what these add to a score is at most their number
 * times 2^-126 · 2^128 · `after`, so scales below 2^-48 leave 2^-24 for after. Scores are finite up to 2^104 then.
 */
export function splitScale(scale: number): { readonly before: number; readonly after: number } {
  if (scale === 0) return { before: 0, after: 0 };
  const exponent = Math.floor(Math.log2(Math.abs(scale)));
  if (exponent >= 0) return { before: 1, after: scale };
  const digits = exponent >= -DIGITS_AFTER ? -exponent : Math.max(DIGITS_AFTER, -exponent - DIGITS_AFTER);
  return { before: 2 ** -digits, after: scale * 2 ** digits };
}

/** The uniforms of the scale. Two f16 have no product that overflows f32: their scale stays after, and kernels may count on it. */
export function scaleParams({ scale, q, k }: Pick<Problem, 'scale' | 'q' | 'k'>): readonly Param[] {
  const { before, after } = q.dtype === 'f16' && k.dtype === 'f16' ? { before: 1, after: scale } : splitScale(scale);
  return [
    ['scale_before', 'f32', before],
    ['scale_after', 'f32', after],
  ];
}
