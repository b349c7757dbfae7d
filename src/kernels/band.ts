import type { Problem } from '../contract/problem.ts';
import type { Param } from '../gpu/kernel.ts';

/** The uniforms of the band: causal mask and window, which decide by a query's position which keys it sees. */
export function bandParams({ left, right, causalOffset }: Problem): readonly Param[] {
  const isLowerRight = causalOffset === 'lower-right';
  return [
    ['left', 'i32', left],
    ['right', 'i32', right],
    ['causal_offset', 'i32', isLowerRight ? 0 : causalOffset],
    ['is_lower_right', 'u32', Number(isLowerRight)],
  ];
}

/** The mask's kind as the shaders number it. 0: no mask, 1: boolean, 2: f32 added, 3: f16 added. */
export const maskKind = ({ mask }: Problem): number => (mask ? { bool: 1, f32: 2, f16: 3, u32: 0 }[mask.dtype] : 0);

/** The constants of a kernel that say what happens to scores after the scale. */
export const scoreFlags = (problem: Problem) => ({
  MASK: maskKind(problem),
  SOFTCAP: problem.softcap > 0,
  ALIBI: problem.alibiSlopes !== undefined,
});

/** The uniforms of dropout: the key of Philox (64 bits), the bound below which a random word drops its weight, and the factor of kept weights. */
export function dropoutParams({ dropout }: Problem): readonly Param[] {
  const { probability, seed } = dropout ?? { probability: 0, seed: 0 };
  return [
    ['seed_low', 'u32', seed % 2 ** 32],
    ['seed_high', 'u32', Math.floor(seed / 2 ** 32)],
    ['drop_below', 'u32', Math.floor(probability * 2 ** 32)],
    ['keep_factor', 'f32', 1 / (1 - probability)],
  ];
}
