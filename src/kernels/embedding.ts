import type { Layout } from '../contract/tensor.ts';
import { type Dispatch, elementOffset, type Kernel, linearGrid, read, uniform, write } from '../gpu/kernel.ts';

/** x[b,n] = table[tokens[b,n]] + positions[n]. */
export const embedding: Kernel = {
  name: 'embedding',
  source: () => import('../../shaders/embedding.wgsl?raw'),
  bindings: [read('tokens'), read('table'), read('positions'), write('x'), uniform('params')],
};

/** Dense tensors: tokens [B,N], table [vocabulary, width], positions [N, width], x [B,N,width]. */
export interface Embedding {
  readonly tokens: Layout;
  readonly table: Layout;
  readonly positions: Layout;
  readonly x: Layout;
}

export function embeddingDispatch({ tokens, table, positions, x }: Embedding, alignment: number): Dispatch {
  const [B, N] = tokens.shape as [number, number];
  const [vocabulary, width] = table.shape as [number, number];
  return {
    kernel: embedding,
    variant: {},
    params: [
      ['rows', 'u32', B * N],
      ['n', 'u32', N],
      ['width', 'u32', width],
      ['vocabulary', 'u32', vocabulary],
      ['tokens_offset', 'u32', elementOffset(tokens, alignment)],
      ['table_offset', 'u32', elementOffset(table, alignment)],
      ['positions_offset', 'u32', elementOffset(positions, alignment)],
      ['x_offset', 'u32', elementOffset(x, alignment)],
    ],
    grid: linearGrid(B * N * width),
  };
}
