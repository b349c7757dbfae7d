import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, gridDispatch, type Kernel, numbers, uniform, type Variant, viewParams, write } from '../gpu/kernel.ts';
import { BACKWARD_INPUTS, backwardParams } from './flash_backward.ts';

/** The gradient of an additive mask. */
export const flashBackwardMask: Kernel = {
  name: 'flash_backward_mask',
  source: () => import('../../shaders/flash_backward_mask.wgsl?raw'),
  bindings: [...BACKWARD_INPUTS, write('dmask'), uniform('params')],
};

export function flashBackwardMaskDispatch(problem: BackwardProblem, variant: Variant, alignment: number): Dispatch {
  const { TILE_N, TILE_M } = numbers<'TILE_N' | 'TILE_M'>(variant);
  const shape = problem.dMask?.shape ?? [1, 1, 1, 1];
  const [b, h, n, m] = shape as [number, number, number, number];
  const repeats = (size: number): number => Number(size === 1);
  return gridDispatch(
    flashBackwardMask,
    variant,
    [Math.ceil(m / TILE_M), Math.ceil(n / TILE_N), b * h],
    [
      ...backwardParams(problem, alignment),
      ['batch', 'u32', problem.B],
      ['repeats_b', 'u32', repeats(b)],
      ['repeats_h', 'u32', repeats(h)],
      ['repeats_n', 'u32', repeats(n)],
      ['repeats_m', 'u32', repeats(m)],
      ...viewParams('dmask', problem.dMask, 'bhnm', alignment),
    ],
  );
}

export function flashBackwardMaskBytes(variant: Variant): number {
  const { TILE_N, TILE_M, STEP } = numbers<'TILE_N' | 'TILE_M' | 'STEP'>(variant);
  return (
    4 * STEP * (TILE_N + TILE_M) + // tile
    4 * TILE_N * TILE_M // totals
  );
}
