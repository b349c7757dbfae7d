import type { Problem } from '../contract/problem.ts';
import { type Dispatch, elementOffset, type Kernel, linearGrid, read, uniform, write } from '../gpu/kernel.ts';

/** Puts ALiBi's slopes and the sinks into one table, [H,2]. */
export const heads: Kernel = {
  name: 'heads',
  source: () => import('../../shaders/heads.wgsl?raw'),
  bindings: [read('alibi_slopes'), read('sinks'), write('heads'), uniform('params')],
};

export function headsDispatch({ H, alibiSlopes, sinks }: Problem, alignment: number): Dispatch {
  return {
    kernel: heads,
    variant: {},
    params: [
      ['heads', 'u32', H],
      ['alibi_offset', 'u32', elementOffset(alibiSlopes, alignment)],
      ['sinks_offset', 'u32', elementOffset(sinks, alignment)],
    ],
    grid: linearGrid(H),
  };
}
