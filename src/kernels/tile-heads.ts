import type { Problem } from '../contract/problem.ts';
import { numbers, type Variant } from '../gpu/kernel.ts';

/**
 * Query heads that share a workgroup of `scores` or `context`: with GROUPED as many as fill TILE_N rows with their N queries, and all of them read one
 * key head. A number in the uniforms and not in the shader, so that a decoder compiles the same kernels whatever its numbers of heads and queries.
 * @returns a divisor of H / Hk
 */
export function tileHeads({ N, H, Hk }: Pick<Problem, 'N' | 'H' | 'Hk'>, variant: Variant): number {
  const { TILE_N } = numbers<'TILE_N'>(variant);
  const group = H / Math.max(1, Hk);
  let heads = variant.GROUPED ? Math.max(1, Math.floor(TILE_N / Math.max(1, N))) : 1;
  while (group % heads !== 0) heads--;
  return heads;
}
