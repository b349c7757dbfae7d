import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, numbers, rowLines, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './backward.ts';

/** The gradients of k and v: the tier of devices that run on the CPU. */
export const flashBackwardDkvRow = tunable({
  name: 'flash_backward_dkv_row',
  constants: {
    alias: ['Q', 'K'],
    u32: ['SIZE', 'ROWS', 'D_BLOCKS', 'DV_BLOCKS', 'MASK'],
    bool: ['VEC4', 'D_TAIL', 'DV_TAIL', 'SOFTCAP', 'ALIBI', 'SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_backward_dkv_row.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dk'), write('dv'), uniform('params')],
  enable: ['subgroups'],
  vec4: (variant) => rowLines(variant, { q: 'Q', k: 'K', v: 'K', gradient: 'Q' }, { dk: 'K', dv: 'K' }),
});

export function flashBackwardDkvRowDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { B, Hk, M } = problem;
  const { SIZE, ROWS } = numbers<'SIZE' | 'ROWS'>(variant);
  return gridDispatch(flashBackwardDkvRow, variant, [Math.ceil(M / (SIZE * ROWS)), B * Hk, 1], backwardParams(problem, alignment));
}
