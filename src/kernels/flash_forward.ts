import type { Problem } from '../contract/problem.ts';
import { type Dispatch, gridDispatch, numbers, read, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { forwardParams } from './forward.ts';

/** Attention in one pass over the keys: the baseline tier, which needs no feature. */
export const flashForward = tunable({
  name: 'flash_forward',
  constants: {
    alias: ['Q', 'K'],
    u32: ['TILE_N', 'TILE_M', 'STEP', 'KEYS', 'BLOCKS'],
    bool: ['SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_forward.wgsl?raw'),
  bindings: [
    read('q'),
    read('k'),
    read('v'),
    read('mask'),
    read('key_lengths'),
    read('heads'),
    write('out'),
    write('lse'),
    uniform('params'),
  ],
});

export function flashForwardDispatch(problem: Problem, variant: Variant, alignment: number): Dispatch {
  const { TILE_N } = numbers<'TILE_N'>(variant);
  const { B, H, N } = problem;
  return gridDispatch(flashForward, variant, [Math.ceil(N / TILE_N), B * H, 1], forwardParams(problem, alignment));
}

export function flashForwardBytes(variant: Variant): number {
  const { TILE_N, TILE_M, STEP, KEYS, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'STEP' | 'KEYS' | 'BLOCKS'>(variant);
  return (
    4 * Math.max(STEP * (TILE_N + TILE_M), (TILE_N * TILE_M) / 4, KEYS * BLOCKS * TILE_M) + // tile
    4 * TILE_M * TILE_N // w_tile
  );
}
