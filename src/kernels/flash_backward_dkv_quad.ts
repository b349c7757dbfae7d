import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, numbers, tunable, uniform, type Variant, vec4Load, vec4Store, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './backward.ts';

/** The gradients of k and v: the tier of GPUs with subgroups. */
export const flashBackwardDkvQuad = tunable({
  name: 'flash_backward_dkv_quad',
  constants: {
    alias: ['Q', 'K'],
    u32: ['WIDTH', 'SIZE', 'LANES', 'ROWS', 'D_VECS', 'DV_VECS', 'PARTS'],
    bool: ['VEC4', 'SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_backward_dkv_quad.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dk'), write('dv'), uniform('params')],
  enable: ['subgroups'],
  vec4: () => [
    ...['alias Q_UNIT = vec4<Q>;', 'alias K_UNIT = vec4<K>;'],
    ...[vec4Load('q', 'd'), vec4Load('k', 'd'), vec4Load('v', 'dv'), vec4Load('gradient', 'dv')],
    ...[vec4Store('dk', 'd', 'K'), vec4Store('dv', 'dv', 'K')],
  ],
});

export function flashBackwardDkvQuadDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { B, Hk, M } = problem;
  const { SIZE, LANES, ROWS, PARTS } = numbers<'SIZE' | 'LANES' | 'ROWS' | 'PARTS'>(variant);
  return gridDispatch(
    flashBackwardDkvQuad,
    variant,
    [Math.ceil(M / ((SIZE / LANES) * ROWS)), B * Hk, PARTS],
    backwardParams(problem, alignment),
  );
}
