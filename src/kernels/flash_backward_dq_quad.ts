import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, numbers, tunable, uniform, type Variant, vec4Load, vec4Store, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './backward.ts';

/** The gradient of q: the tier of GPUs with subgroups. */
export const flashBackwardDqQuad = tunable({
  name: 'flash_backward_dq_quad',
  constants: {
    alias: ['Q', 'K'],
    u32: ['WIDTH', 'SIZE', 'LANES', 'ROWS', 'D_VECS', 'DV_VECS'],
    bool: ['VEC4', 'SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_backward_dq_quad.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dq'), uniform('params')],
  enable: ['subgroups'],
  vec4: () => [
    ...['alias Q_UNIT = vec4<Q>;', 'alias K_UNIT = vec4<K>;'],
    ...[vec4Load('q', 'd'), vec4Load('k', 'd'), vec4Load('v', 'dv'), vec4Load('gradient', 'dv'), vec4Store('dq', 'd', 'Q')],
  ],
});

export function flashBackwardDqQuadDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { B, H, N } = problem;
  const { SIZE, LANES, ROWS } = numbers<'SIZE' | 'LANES' | 'ROWS'>(variant);
  return gridDispatch(flashBackwardDqQuad, variant, [Math.ceil(N / ((SIZE / LANES) * ROWS)), B * H, 1], backwardParams(problem, alignment));
}
