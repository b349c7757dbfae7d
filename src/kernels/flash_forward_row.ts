import type { Problem } from '../contract/problem.ts';
import { type Dispatch, gridDispatch, numbers, rowLines, tunable, type Variant } from '../gpu/kernel.ts';
import { flashForward } from './flash_forward.ts';
import { forwardParams } from './forward.ts';

/** Attention in one pass over the keys: the tier of devices that run on the CPU. Bindings and uniforms are those of flash_forward. */
export const flashForwardRow = tunable({
  name: 'flash_forward_row',
  constants: {
    alias: ['Q', 'K'],
    u32: ['SIZE', 'ROWS', 'D_BLOCKS', 'DV_BLOCKS', 'MASK'],
    bool: ['VEC4', 'D_TAIL', 'DV_TAIL', 'SOFTCAP', 'ALIBI', 'SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_forward_row.wgsl?raw'),
  bindings: flashForward.bindings,
  enable: ['subgroups'],
  vec4: (variant) => rowLines(variant, { q: 'Q', k: 'K', v: 'K' }, { out: 'Q' }),
});

export function flashForwardRowDispatch(problem: Problem, variant: Variant, alignment: number): Dispatch {
  const { SIZE, ROWS } = numbers<'SIZE' | 'ROWS'>(variant);
  const { B, H, N } = problem;
  return gridDispatch(flashForwardRow, variant, [Math.ceil(N / (SIZE * ROWS)), B * H, 1], forwardParams(problem, alignment));
}
