import type { Problem } from '../contract/problem.ts';
import { numbers, type Variant } from '../gpu/kernel.ts';

/**
 * Query heads that share a workgroup of `scores` or `context`, all of one key head. Without GROUPED it is 1; with GROUPED, as many as fill TILE_N rows with
 * their N queries. The number is a uniform, not a `const`, so that a decoder compiles the same kernels for every number of heads and queries.
 * @returns a divisor of H / Hk
 */
export function tileHeads({ N, H, Hk }: Pick<Problem, 'N' | 'H' | 'Hk'>, variant: Variant): number {
  const { TILE_N } = numbers<'TILE_N'>(variant);
  const group = H / Math.max(1, Hk);
  let heads = variant.GROUPED ? Math.max(1, Math.floor(TILE_N / Math.max(1, N))) : 1;
  while (group % heads !== 0) heads--;
  return heads;
}
