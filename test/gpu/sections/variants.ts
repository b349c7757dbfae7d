/** Variants that are forced on the library. */
import type { KernelVariants } from '../../../src/index.ts';
import type { Shape } from '../records.ts';

/** The parts of a kernel's variant that are shown. */
export const SHOWN = ['TILE_N', 'TILE_M', 'BLOCKS', 'SIZE', 'LANES', 'ROWS', 'PARTS', 'SPLITS', 'KEYS', 'WIDTH'];

/** `flash_forward_quad LANES=8 ROWS=4`: the same for the same constants in any order. */
export const nameVariant = (variant: KernelVariants): string =>
  Object.entries(variant)
    .map(([kernel, constants]) => {
      const sorted = Object.entries(constants).sort(([a], [b]) => (a < b ? -1 : 1));
      return [kernel, ...sorted.map(([name, value]) => `${name}=${value}`)].join(' ');
    })
    .join(' + ');

/** Every combination of one value of each list. */
function combinations<Name extends string>(lists: Readonly<Record<Name, readonly number[]>>): Record<Name, number>[] {
  let all = [{}] as Record<Name, number>[];
  for (const [name, values] of Object.entries(lists) as [Name, readonly number[]][])
    all = all.flatMap((one) => values.map((value) => ({ ...one, [name]: value })));
  return all;
}

const powerOfTwo = (least: number): number => Math.max(1, 2 ** Math.ceil(Math.log2(least)));

/** Forward, beyond what tune() tries. What does not fit a device or a head size is refused before it is compiled. */
export function forwardVariants({ D, N, H, Hk, M }: Shape): KernelVariants[] {
  if (N > 1) {
    const quads = combinations({ LANES: [4, 8, 16], ROWS: [4, 2, 1], SIZE: [64, 128, 32] });
    const tiles = combinations({ TILE_N: [32, 64, 16], TILE_M: [64, 32, 128], STEP: [16, 8] });
    return [
      ...quads.map((constants) => ({ flash_forward_quad: constants })),
      ...tiles.map((tile) => ({ flash_forward: { ...tile, BLOCKS: Math.ceil(D / tile.TILE_M), KEYS: 4 } })),
    ];
  }
  const splits = [16, 32, 64, 128, 256].filter((count) => count <= M / 128);
  return combinations({ SPLITS: splits, LANES: [8, 16, 32], SIZE: [64, 128, 256] }).map((constants) => {
    const vecs = D / (4 * constants.LANES); // of a lane
    const COLS = Math.min(4, powerOfTwo(vecs));
    const blocks = powerOfTwo(vecs / COLS);
    return { flash_decode: { ...constants, ROWS: Math.min(4, H / Hk), COLS, D_BLOCKS: blocks, DV_BLOCKS: blocks } };
  });
}

/** Of the backward kernels that quads share. */
export const backwardVariants = ({ D }: Shape): KernelVariants[] =>
  combinations({ LANES: [4, 8, 16], ROWS: [2, 1, 4], PARTS: [1, 2] }).map(({ PARTS, ...rest }) => {
    const vecs = Math.ceil(D / (4 * rest.LANES));
    const shared = { ...rest, D_VECS: vecs, DV_VECS: vecs };
    return { flash_backward_dq_quad: shared, flash_backward_dkv_quad: { ...shared, PARTS } };
  });
