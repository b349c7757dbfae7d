import type { Problem } from '../problem.ts';
import { bandParams, dropoutParams, maskKind } from './band.ts';
import { type Dispatch, elementOffset, type Kernel, numbers, type Param, read, uniform, type Variant, write } from './kernel.ts';

/** Attention in one pass over the keys: the baseline tier. */
export const flashForward: Kernel = {
  name: 'flash_forward',
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
};

export function flashForwardDispatch(problem: Problem, variant: Variant, alignment: number): Dispatch {
  const { TILE_N } = numbers<'TILE_N'>(variant);
  const { B, H, N } = problem;
  return { kernel: flashForward, variant, params: flashParams(problem, alignment), grid: [Math.ceil(N / TILE_N), B * H, 1] };
}

/** The uniforms of the fused kernels, which share their bindings too. */
export function flashParams(problem: Problem, alignment: number): readonly Param[] {
  const { H, Hk, N, M, D, Dv, q, k, v, mask, keyLengths, alibiSlopes, sinks, out } = problem;
  const hasTable = needsHeadsTable(problem);
  return [
    ['heads', 'u32', H],
    ['key_heads', 'u32', Hk],
    ['n', 'u32', N],
    ['m', 'u32', M],
    ['d', 'u32', D],
    ['dv', 'u32', Dv],
    ['scale', 'f32', problem.scale],
    ['softcap', 'f32', problem.softcap],
    ...bandParams(problem),
    ['mask_kind', 'u32', maskKind(problem)],
    ['has_key_lengths', 'u32', Number(keyLengths !== undefined)],
    ['has_alibi', 'u32', Number(alibiSlopes !== undefined)],
    ['has_sinks', 'u32', Number(sinks !== undefined)],
    ['has_lse', 'u32', Number(problem.returnLse)],
    ['heads_offset', 'u32', hasTable ? 0 : elementOffset(alibiSlopes ?? sinks, alignment)],
    ['heads_row', 'u32', hasTable ? 2 : 1],
    ['q_offset', 'u32', elementOffset(q, alignment)],
    ['q_b', 'u32', q.strides[0]!],
    ['q_h', 'u32', q.strides[1]!],
    ['q_n', 'u32', q.strides[2]!],
    ['k_offset', 'u32', elementOffset(k, alignment)],
    ['k_b', 'u32', k.strides[0]!],
    ['k_h', 'u32', k.strides[1]!],
    ['k_m', 'u32', k.strides[2]!],
    ['v_offset', 'u32', elementOffset(v, alignment)],
    ['v_b', 'u32', v.strides[0]!],
    ['v_h', 'u32', v.strides[1]!],
    ['v_m', 'u32', v.strides[2]!],
    ['mask_offset', 'u32', elementOffset(mask, alignment)],
    ['mask_b', 'u32', mask?.strides[0] ?? 0],
    ['mask_h', 'u32', mask?.strides[1] ?? 0],
    ['mask_n', 'u32', mask?.strides[2] ?? 0],
    ['mask_m', 'u32', mask?.strides[3] ?? 0],
    ['key_lengths_offset', 'u32', elementOffset(keyLengths, alignment)],
    ['out_offset', 'u32', elementOffset(out, alignment)],
    ['out_b', 'u32', out.strides[0]!],
    ['out_h', 'u32', out.strides[1]!],
    ['out_n', 'u32', out.strides[2]!],
    ...dropoutParams(problem),
  ];
}

/** The fused kernels have one binding for slopes and sinks: both together come in a table that a dispatch before them writes. */
export const needsHeadsTable = ({ alibiSlopes, sinks }: Problem): boolean => alibiSlopes !== undefined && sinks !== undefined;

export function flashForwardBytes(variant: Variant): number {
  const { TILE_N, TILE_M, STEP } = numbers<'TILE_N' | 'TILE_M' | 'STEP'>(variant);
  return (
    4 * STEP * TILE_N + // q_tile
    4 * STEP * TILE_M + // kv_tile
    4 * TILE_M * TILE_N + // w_tile
    TILE_M * TILE_N // partial
  );
}
