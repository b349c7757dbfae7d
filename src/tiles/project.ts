/** Chooses the tiles of linear projections. Loaded with the first of them. */
import { type Projection, projectBytes } from '../kernels/project.ts';
import { type Choice, checkFits } from './choice.ts';
import { matmulTile } from './explicit.ts';
import type { BasicFacts } from './facts.ts';

/** @throws AttentionError 'limit' where the tiles do not fit the device */
export function chooseProjectTiles({ rows, outWidth }: Pick<Projection, 'rows' | 'outWidth'>, facts: BasicFacts): Choice {
  const { size, reason, ...blocks } = matmulTile(rows, outWidth, facts);
  const variant = { TILE_N: size, TILE_O: size, TILE_I: 16, ROWS: blocks.rows, COLS: blocks.cols };
  checkFits('project', size ** 2 / (16 * blocks.rows * blocks.cols), projectBytes(variant), facts);
  return { variant, reason };
}
