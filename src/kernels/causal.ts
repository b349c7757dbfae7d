import type { Problem } from '../problem.ts';
import type { Param } from './kernel.ts';

/** The uniforms of causal masking. The offset is cut to where it changes nothing more, so that i32 sums in the shader cannot overflow. */
export function causalParams({ isCausal, causalOffset, N, M }: Problem): readonly Param[] {
  const isLowerRight = causalOffset === 'lower-right';
  return [
    ['is_causal', 'u32', Number(isCausal)],
    ['causal_offset', 'i32', isLowerRight ? 0 : Math.min(Math.max(causalOffset, -N), M)],
    ['is_lower_right', 'u32', Number(isLowerRight)],
  ];
}
