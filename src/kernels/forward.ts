import type { Problem } from '../contract/problem.ts';
import { elementOffset, type Param, viewParams } from '../gpu/kernel.ts';
import { bandParams, dropoutParams, maskKind } from './band.ts';
import { scaleParams } from './scale.ts';

/** What some of the forward kernels have in their uniforms, and others leave 0. */
interface OwnParams {
  readonly splits?: number; // of the keys
  readonly rowBlocks?: number; // a key head
  readonly tileHeads?: number; // query heads a workgroup
}

/** The uniforms of the forward kernels: the struct of shaders/parts/forward.wgsl. */
export function forwardParams(
  problem: Problem,
  alignment: number,
  { splits = 0, rowBlocks = 0, tileHeads = 0 }: OwnParams = {},
): readonly Param[] {
  const { B, H, Hk, N, M, D, Dv, q, k, v, mask, keyLengths, alibiSlopes, sinks, out } = problem;
  const hasTable = needsHeadsTable(problem);
  return [
    ['heads', 'u32', H],
    ['key_heads', 'u32', Hk],
    ['n', 'u32', N],
    ['m', 'u32', M],
    ['d', 'u32', D],
    ['dv', 'u32', Dv],
    ...scaleParams(problem),
    ['softcap', 'f32', problem.softcap],
    ...bandParams(problem),
    ['mask_kind', 'u32', maskKind(problem)],
    ['has_key_lengths', 'u32', Number(keyLengths !== undefined)],
    ['has_alibi', 'u32', Number(alibiSlopes !== undefined)],
    ['has_sinks', 'u32', Number(sinks !== undefined)],
    ['has_lse', 'u32', Number(problem.returnLse)],
    ['heads_offset', 'u32', hasTable ? 0 : elementOffset(alibiSlopes ?? sinks, alignment)],
    ['heads_row', 'u32', hasTable ? 2 : 1],
    ...viewParams('q', q, 'bhn', alignment),
    ...viewParams('k', k, 'bhm', alignment),
    ...viewParams('v', v, 'bhm', alignment),
    ...viewParams('mask', mask, 'bhnm', alignment),
    ['key_lengths_offset', 'u32', elementOffset(keyLengths, alignment)],
    ...viewParams('out', out, 'bhn', alignment),
    ...dropoutParams(problem),
    ['splits', 'u32', splits],
    ['row_blocks', 'u32', rowBlocks],
    ['all_rows', 'u32', B * H * N],
    ['tile_heads', 'u32', tileHeads],
  ];
}

/** The fused kernels have one binding for slopes and sinks: both together come in a table that a dispatch before them writes. */
export const needsHeadsTable = ({ alibiSlopes, sinks }: Problem): boolean => alibiSlopes !== undefined && sinks !== undefined;
