import type { Problem } from '../contract/problem.ts';
import type { Param } from '../gpu/kernel.ts';

/** The factor `after` of a scale is at least 2^-DIGITS_AFTER. */
const DIGITS_AFTER = 24;

/**
 * A scale as two factors. `before` multiplies one side of a dot product; `after` multiplies the product. With a small scale, dot products of large numbers
 * then do not overflow before they are scaled. `before` is a power of 2, so that it changes no digit. A scale of 1 or more is all in `after`.
 *
 * A score s overflows where s / `after` does. With scales from 2^-24 on, that is only where s itself overflows; with smaller scales, above 2^104.
 * An element below 2^-126 / `before` is subnormal after `before`, and may be flushed to 0. The score then loses at most
 * 4 · `after` · (the other side's element / 2^128) by it.
 */
export function splitScale(scale: number): { readonly before: number; readonly after: number } {
  if (Math.fround(scale) === 0) return { before: 0, after: 0 };
  const exponent = Math.floor(Math.log2(Math.abs(scale)));
  if (exponent >= 0) return { before: 1, after: scale };
  const digits = exponent >= -DIGITS_AFTER ? -exponent : Math.max(DIGITS_AFTER, -exponent - DIGITS_AFTER);
  return { before: 2 ** -digits, after: scale * 2 ** digits };
}

/** The uniforms of the scale. Products of two f16 do not overflow f32: where q and k are f16 `before` is 1, and kernels may rely on it. */
export function scaleParams({ scale, q, k }: Pick<Problem, 'scale' | 'q' | 'k'>): readonly Param[] {
  const { before, after } = q.dtype === 'f16' && k.dtype === 'f16' ? { before: 1, after: scale } : splitScale(scale);
  return [
    ['scale_before', 'f32', before],
    ['scale_after', 'f32', after],
  ];
}
