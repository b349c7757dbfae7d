import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, numbers, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './backward.ts';

/** The gradient of q: the baseline tier, which needs no feature. */
export const flashBackwardDq = tunable({
  name: 'flash_backward_dq',
  constants: {
    alias: ['Q', 'K'],
    u32: ['TILE_N', 'TILE_M', 'STEP', 'KEYS', 'BLOCKS'],
    bool: ['SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_backward_dq.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dq'), uniform('params')],
});

export function flashBackwardDqDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { B, H, N, D } = problem;
  const { TILE_N, TILE_M, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'BLOCKS'>(variant);
  return gridDispatch(
    flashBackwardDq,
    variant,
    [Math.ceil(N / TILE_N), B * H, Math.ceil(D / (TILE_M * BLOCKS))],
    backwardParams(problem, alignment),
  );
}

export function flashBackwardDqBytes(variant: Variant): number {
  const { TILE_N, TILE_M, STEP } = numbers<'TILE_N' | 'TILE_M' | 'STEP'>(variant);
  return (
    4 * STEP * (TILE_N + TILE_M) + // tile
    4 * TILE_M * TILE_N // w_tile
  );
}
