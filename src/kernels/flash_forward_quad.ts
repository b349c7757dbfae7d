import type { Problem } from '../problem.ts';
import { flashForward, flashParams } from './flash_forward.ts';
import { type Dispatch, type Kernel, numbers, type Variant } from './kernel.ts';

/** Attention in one pass over the keys: the tier of devices with subgroups. Bindings and uniforms are those of flash_forward. */
export const flashForwardQuad: Kernel = {
  name: 'flash_forward_quad',
  source: () => import('../../shaders/flash_forward_quad.wgsl?raw'),
  bindings: flashForward.bindings,
  enable: ['subgroups'],
};

export function flashForwardQuadDispatch(problem: Problem, variant: Variant, alignment: number): Dispatch {
  const { SIZE, ROWS } = numbers<'SIZE' | 'ROWS'>(variant);
  const { B, H, N } = problem;
  return {
    kernel: flashForwardQuad,
    variant,
    params: flashParams(problem, alignment),
    grid: [Math.ceil(N / ((SIZE / 4) * ROWS)), B * H, 1],
  };
}
