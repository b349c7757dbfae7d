import type { ScoresForm } from '../contract/options.ts';
import { type Problem, UNLIMITED } from '../contract/problem.ts';
import {
  type Dispatch,
  elementOffset,
  gridDispatch,
  type Kernel,
  numbers,
  type Param,
  read,
  uniform,
  type Variant,
  viewParams,
  write,
} from '../gpu/kernel.ts';
import { bandParams, maskKind } from './band.ts';
import { scaleParams } from './scale.ts';
import { tileHeads } from './tile-heads.ts';

/** s = scale · q kᵀ → softcap → + ALiBi → mask, band, key lengths, [B,H,N,M]. */
export const scores: Kernel = {
  name: 'scores',
  source: () => import('../../shaders/scores.wgsl?raw'),
  bindings: [read('q'), read('k'), read('mask'), read('key_lengths'), read('alibi_slopes'), write('scores'), uniform('params')],
};

/** @param form how far to go: `'masked'` is what the softmax takes */
export function scoresDispatch(problem: Problem, variant: Variant, alignment: number, form: Exclude<ScoresForm, 'weights'>): Dispatch {
  const { TILE_N, TILE_M, TILES } = numbers<'TILE_N' | 'TILE_M' | 'TILES'>(variant);
  const { B, H, N, M } = problem;
  const heads = tileHeads(problem, variant);
  return gridDispatch(
    scores,
    variant,
    [Math.ceil(M / (TILE_M * TILES)), Math.ceil((N * heads) / TILE_N), (B * H) / heads],
    scoresParams(scoresProblem(problem, form), heads, alignment),
  );
}

/** The problem without the steps that come after `form`. */
function scoresProblem(problem: Problem, form: Exclude<ScoresForm, 'weights'>): Problem {
  if (form === 'masked') return problem;
  const unbound = { mask: undefined, alibiSlopes: undefined, left: UNLIMITED, right: UNLIMITED };
  return { ...problem, ...unbound, softcap: form === 'raw' ? 0 : problem.softcap };
}

function scoresParams(problem: Problem, heads: number, alignment: number): readonly Param[] {
  const { H, Hk, N, M, D, q, k, mask, keyLengths, alibiSlopes } = problem;
  return [
    ['heads', 'u32', H],
    ['key_heads', 'u32', Hk],
    ['tile_heads', 'u32', heads],
    ['n', 'u32', N],
    ['m', 'u32', M],
    ['d', 'u32', D],
    ...scaleParams(problem),
    ['softcap', 'f32', problem.softcap],
    ...bandParams(problem),
    ['mask_kind', 'u32', maskKind(problem)],
    ['has_key_lengths', 'u32', Number(keyLengths !== undefined)],
    ['has_alibi', 'u32', Number(alibiSlopes !== undefined)],
    ...viewParams('q', q, 'bhn', alignment),
    ...viewParams('k', k, 'bhm', alignment),
    ...viewParams('mask', mask, 'bhnm', alignment),
    ['key_lengths_offset', 'u32', elementOffset(keyLengths, alignment)],
    ['alibi_offset', 'u32', elementOffset(alibiSlopes, alignment)],
  ];
}

export function scoresBytes(variant: Variant): number {
  const { TILE_N, TILE_M, TILE_D } = numbers<'TILE_N' | 'TILE_M' | 'TILE_D'>(variant);
  return (
    4 * TILE_D * TILE_N + // q_tile
    (variant.DIRECT ? 16 : 4 * TILE_D * TILE_M) // k_tile
  );
}
