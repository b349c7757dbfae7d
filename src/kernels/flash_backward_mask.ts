import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, numbers, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './backward.ts';

/** The gradient of an additive mask. */
export const flashBackwardMask = tunable({
  name: 'flash_backward_mask',
  constants: {
    alias: ['Q', 'K'],
    u32: ['TILE_N', 'TILE_M', 'STEP'],
    bool: ['DROPOUT'],
  },
  source: () => import('../../shaders/flash_backward_mask.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dmask'), uniform('params')],
});

export function flashBackwardMaskDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { TILE_N, TILE_M } = numbers<'TILE_N' | 'TILE_M'>(variant);
  const shape = problem.dMask?.shape ?? [1, 1, 1, 1];
  const [b, h, n, m] = shape as [number, number, number, number];
  return gridDispatch(
    flashBackwardMask,
    variant,
    [Math.ceil(m / TILE_M), Math.ceil(n / TILE_N), b * h],
    backwardParams(problem, alignment),
  );
}

export function flashBackwardMaskBytes(variant: Variant): number {
  const { TILE_N, TILE_M, STEP } = numbers<'TILE_N' | 'TILE_M' | 'STEP'>(variant);
  return (
    4 * STEP * (TILE_N + TILE_M) + // tile
    4 * TILE_N * TILE_M // totals
  );
}
