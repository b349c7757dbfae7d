import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, numbers, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './backward.ts';

/** The gradients of k and v: the baseline tier, which needs no feature. */
export const flashBackwardDkv = tunable({
  name: 'flash_backward_dkv',
  constants: {
    alias: ['Q', 'K'],
    u32: ['TILE_N', 'TILE_M', 'STEP', 'QUERIES', 'BLOCKS'],
    bool: ['SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_backward_dkv.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dk'), write('dv'), uniform('params')],
});

export function flashBackwardDkvDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { B, Hk, M, D, Dv } = problem;
  const { TILE_N, TILE_M, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'BLOCKS'>(variant);
  return gridDispatch(
    flashBackwardDkv,
    variant,
    [Math.ceil(M / TILE_M), B * Hk, Math.ceil(Math.max(D, Dv) / (TILE_N * BLOCKS))],
    backwardParams(problem, alignment),
  );
}

export function flashBackwardDkvBytes(variant: Variant): number {
  const { TILE_N, TILE_M, STEP } = numbers<'TILE_N' | 'TILE_M' | 'STEP'>(variant);
  return (
    4 * STEP * (TILE_N + TILE_M) + // tile
    4 * TILE_N * TILE_M // w_tile
  );
}
