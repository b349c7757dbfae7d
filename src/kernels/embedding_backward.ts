import type { Layout } from '../contract/tensor.ts';
import { type Dispatch, elementOffset, type Kernel, linearGrid, read, uniform, write } from '../gpu/kernel.ts';

/** The gradients of the table and of the positions, from the gradient of x. */
export const embeddingBackward: Kernel = {
  name: 'embedding_backward',
  source: () => import('../../shaders/embedding_backward.wgsl?raw'),
  bindings: [read('tokens'), read('dx'), write('gradient'), uniform('params')],
};

/**
 * Dense tensors: tokens [B,N], dx [B,N,width], table [vocabulary, width], positions [N, width]. `table` and `positions` are the outputs. Both lie in the
 * buffer that is bound as `gradient`, and their offsets count from its beginning.
 */
export interface EmbeddingGradients {
  readonly tokens: Layout;
  readonly dx: Layout;
  readonly table: Layout;
  readonly positions: Layout;
}

export function embeddingBackwardDispatch({ tokens, dx, table, positions }: EmbeddingGradients, alignment: number): Dispatch {
  const [B, N] = tokens.shape as [number, number];
  const [vocabulary, width] = table.shape as [number, number];
  return {
    kernel: embeddingBackward,
    variant: {},
    params: [
      ['batch', 'u32', B],
      ['n', 'u32', N],
      ['width', 'u32', width],
      ['vocabulary', 'u32', vocabulary],
      ['tokens_offset', 'u32', elementOffset(tokens, alignment)],
      ['dx_offset', 'u32', elementOffset(dx, alignment)],
      ['table_offset', 'u32', table.offset / 4],
      ['positions_offset', 'u32', positions.offset / 4],
    ],
    grid: linearGrid((vocabulary + N) * width),
  };
}
