import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, numbers, rowLines, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './backward.ts';

/** The gradient of q: the tier of devices that run on the CPU. */
export const flashBackwardDqRow = tunable({
  name: 'flash_backward_dq_row',
  constants: {
    alias: ['Q', 'K'],
    u32: ['SIZE', 'ROWS', 'D_BLOCKS', 'DV_BLOCKS', 'MASK'],
    bool: ['VEC4', 'D_TAIL', 'DV_TAIL', 'SOFTCAP', 'ALIBI', 'SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_backward_dq_row.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dq'), uniform('params')],
  enable: ['subgroups'],
  vec4: (variant) => rowLines(variant, { q: 'Q', k: 'K', v: 'K', gradient: 'Q' }, { dq: 'Q' }),
});

export function flashBackwardDqRowDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { B, H, N } = problem;
  const { SIZE, ROWS } = numbers<'SIZE' | 'ROWS'>(variant);
  return gridDispatch(flashBackwardDqRow, variant, [Math.ceil(N / (SIZE * ROWS)), B * H, 1], backwardParams(problem, alignment));
}
