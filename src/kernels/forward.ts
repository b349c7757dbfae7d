import type { Problem } from '../contract/problem.ts';
import { elementOffset, type Param, viewParams } from '../gpu/kernel.ts';
import { bandParams, dropoutParams, maskKind } from './band.ts';
import { scaleParams } from './scale.ts';

/** Uniforms that only some of the forward kernels use. The others leave them 0. */
interface OptionalParams {
  readonly splits?: number; // splits of the keys
  readonly rowBlocks?: number; // blocks of rows a key head
  readonly tileHeads?: number; // query heads a workgroup
}

/** The uniforms of the forward kernels: the struct of shaders/parts/forward.wgsl. */
export function forwardParams(
  problem: Problem,
  alignment: number,
  { splits = 0, rowBlocks = 0, tileHeads = 0 }: OptionalParams = {},
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

/** Whether slopes and sinks need one table. The fused kernels have one binding for them: where there are both, the kernel `heads` writes the table first. */
export const needsHeadsTable = ({ alibiSlopes, sinks }: Problem): boolean => alibiSlopes !== undefined && sinks !== undefined;
