import type { ScoresForm } from '../contract/options.ts';
import { type Problem, UNLIMITED } from '../contract/problem.ts';
import { type Dispatch, gridDispatch, numbers, read, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { forwardParams } from './forward.ts';
import { tileHeads } from './tile-heads.ts';

/** s = scale · q kᵀ → softcap → + ALiBi → mask, band, key lengths, [B,H,N,M]. */
export const scores = tunable({
  name: 'scores',
  constants: {
    alias: ['Q', 'K'],
    u32: ['TILE_N', 'TILE_M', 'TILE_D', 'TILES', 'ROWS', 'COLS'],
    bool: ['GROUPED', 'DIRECT'],
  },
  source: () => import('../../shaders/scores.wgsl?raw'),
  bindings: [read('q'), read('k'), read('mask'), read('key_lengths'), read('heads'), write('scores'), uniform('params')],
});

/** @param form the last step to apply: `'masked'` gives the softmax's input */
export function scoresDispatch(problem: Problem, variant: Variant, alignment: number, form: Exclude<ScoresForm, 'weights'>): Dispatch {
  const { TILE_N, TILE_M, TILES } = numbers<'TILE_N' | 'TILE_M' | 'TILES'>(variant);
  const { B, H, N, M } = problem;
  const heads = tileHeads(problem, variant);
  return gridDispatch(
    scores,
    variant,
    [Math.ceil(M / (TILE_M * TILES)), Math.ceil((N * heads) / TILE_N), (B * H) / heads],
    forwardParams(scoresProblem(problem, form), alignment, { tileHeads: heads }),
  );
}

/** The problem without the steps that come after `form`. It has no sinks either: the softmax counts them. */
function scoresProblem(problem: Problem, form: Exclude<ScoresForm, 'weights'>): Problem {
  if (form === 'masked') return { ...problem, sinks: undefined };
  const unbound = { mask: undefined, alibiSlopes: undefined, sinks: undefined, left: UNLIMITED, right: UNLIMITED };
  return { ...problem, ...unbound, softcap: form === 'raw' ? 0 : problem.softcap };
}

export function scoresBytes(variant: Variant): number {
  const { TILE_N, TILE_M, TILE_D } = numbers<'TILE_N' | 'TILE_M' | 'TILE_D'>(variant);
  return (
    4 * TILE_D * TILE_N + // q_tile
    (variant.DIRECT ? 16 : 4 * TILE_D * TILE_M) // k_tile
  );
}
