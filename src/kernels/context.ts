import { isBanded, type Problem } from '../contract/problem.ts';
import { type Dispatch, gridDispatch, numbers, read, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';
import { forwardParams } from './forward.ts';
import { tileHeads } from './tile-heads.ts';

/** out = weights · v, [B,H,N,Dv]. */
export const context = tunable({
  name: 'context',
  constants: {
    alias: ['Q', 'K'],
    u32: ['TILE_N', 'TILE_DV', 'TILE_M', 'ROWS', 'COLS', 'SLOTS'],
    bool: ['GROUPED', 'DIRECT', 'SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/context.wgsl?raw'),
  bindings: [read('weights'), read('v'), read('key_lengths'), write('out'), uniform('params')],
});

export function contextDispatch(problem: Problem, variant: Variant, alignment: number): Dispatch {
  const { TILE_N, TILE_DV } = numbers<'TILE_N' | 'TILE_DV'>(variant);
  const { B, H, N, Dv } = problem;
  const heads = tileHeads(problem, variant);
  return gridDispatch(
    context,
    variant,
    [Math.ceil(Dv / TILE_DV), Math.ceil((N * heads) / TILE_N), (B * H) / heads],
    forwardParams({ ...problem, sinks: undefined }, alignment, { tileHeads: heads }),
  );
}

/** Whether a tile that is computed may contain excluded keys, by a mask or by the band. Their weights are exactly 0. */
export const skipsZeros = (problem: Problem): boolean => problem.mask !== undefined || isBanded(problem);

/** Whether M may be no multiple of a step of `keys` keys. Past the last key kernels load a key that exists, and give it weight 0. */
export const hasTail = ({ M, keyLengths }: Problem, keys: number): boolean => keyLengths !== undefined || M % keys !== 0;

export function contextBytes(variant: Variant): number {
  const { TILE_N, TILE_DV, TILE_M, ROWS, COLS, SLOTS } = numbers<'TILE_N' | 'TILE_DV' | 'TILE_M' | 'ROWS' | 'COLS' | 'SLOTS'>(variant);
  const tile = (elements: number) => (variant.DIRECT ? 16 : 4 * elements);
  return (
    tile(TILE_M * TILE_N) + // w_tile
    tile(TILE_M * TILE_DV) + // v_tile
    (SLOTS > 1 ? (SLOTS * TILE_N * TILE_DV) / (ROWS * COLS) : 16) // partial
  );
}
