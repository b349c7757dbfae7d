import type { Problem } from '../contract/problem.ts';
import type { Param } from '../gpu/kernel.ts';

/** Binary digits of a small scale that are left for after the products. */
const DIGITS_AFTER = 24;

/**
 * A scale as two factors: `before`, a power of 2 that multiplies one side of a dot product, and `after`, which multiplies the product. Products of
 * large numbers with a small scale then do not overflow before the scale does its work, and a power of 2 changes no digit. Scales of 1 and more stay after.
 *
 * A score s overflows where s / `after` does: with scales from 2^-24 on only where it overflows itself, with smaller ones above 2^104. An element below
 * 2^-126 / `before` is no normal number before the product, and may count as 0: of a score that loses at most 4 · `after` · (the other side's element / 2^128).
 */
export function splitScale(scale: number): { readonly before: number; readonly after: number } {
  if (Math.fround(scale) === 0) return { before: 0, after: 0 };
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
