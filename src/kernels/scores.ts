import source from '../../shaders/scores.wgsl?raw';
import type { Problem, ScoresForm } from '../problem.ts';
import { causalParams } from './causal.ts';
import { type Dispatch, elementOffset, type Kernel, numbers, type Param, read, uniform, type Variant, write } from './kernel.ts';

/** s = scale · q kᵀ → softcap → mask, [B,H,N,M]. */
export const scores: Kernel = {
  name: 'scores',
  source,
  bindings: [read('q'), read('k'), read('mask'), read('key_lengths'), write('scores'), uniform('params')],
};

/** @param form how far to go: `'masked'` is what the softmax takes */
export function scoresDispatch(problem: Problem, variant: Variant, alignment: number, form: Exclude<ScoresForm, 'weights'>): Dispatch {
  const { TILE_N, TILE_M } = numbers<'TILE_N' | 'TILE_M'>(variant);
  const { B, H, N, M } = problem;
  return {
    kernel: scores,
    variant,
    params: scoresParams(scoresProblem(problem, form), alignment),
    grid: [Math.ceil(M / TILE_M), Math.ceil(N / TILE_N), B * H],
  };
}

/** The problem without the steps that come after `form`. */
function scoresProblem(problem: Problem, form: Exclude<ScoresForm, 'weights'>): Problem {
  if (form === 'masked') return problem;
  return { ...problem, mask: undefined, isCausal: false, softcap: form === 'raw' ? 0 : problem.softcap };
}

function scoresParams(problem: Problem, alignment: number): readonly Param[] {
  const { H, Hk, N, M, D, q, k, mask, keyLengths } = problem;
  return [
    ['heads', 'u32', H],
    ['key_heads', 'u32', Hk],
    ['n', 'u32', N],
    ['m', 'u32', M],
    ['d', 'u32', D],
    ['scale', 'f32', problem.scale],
    ['softcap', 'f32', problem.softcap],
    ...causalParams(problem),
    ['mask_kind', 'u32', mask === undefined ? 0 : mask.dtype === 'bool' ? 1 : 2],
    ['has_key_lengths', 'u32', Number(keyLengths !== undefined)],
    ['q_offset', 'u32', elementOffset(q, alignment)],
    ['q_b', 'u32', q.strides[0]!],
    ['q_h', 'u32', q.strides[1]!],
    ['q_n', 'u32', q.strides[2]!],
    ['k_offset', 'u32', elementOffset(k, alignment)],
    ['k_b', 'u32', k.strides[0]!],
    ['k_h', 'u32', k.strides[1]!],
    ['k_m', 'u32', k.strides[2]!],
    ['mask_offset', 'u32', elementOffset(mask, alignment)],
    ['mask_b', 'u32', mask?.strides[0] ?? 0],
    ['mask_h', 'u32', mask?.strides[1] ?? 0],
    ['mask_n', 'u32', mask?.strides[2] ?? 0],
    ['mask_m', 'u32', mask?.strides[3] ?? 0],
    ['key_lengths_offset', 'u32', elementOffset(keyLengths, alignment)],
  ];
}

export function scoresBytes(variant: Variant): number {
  const { TILE_N, TILE_M, TILE_D } = numbers<'TILE_N' | 'TILE_M' | 'TILE_D'>(variant);
  return (
    4 * TILE_D * TILE_N + // q_tile
    4 * TILE_D * TILE_M // k_tile
  );
}
