import type { Problem } from '../contract/problem.ts';
import { type Dispatch, elementOffset, gridDispatch, numbers, read, tunable, uniform, type Variant, write } from '../gpu/kernel.ts';

/** weights = softmax(scores) of each row, in place. Also writes the log-sum-exp of each row. */
export const softmax = tunable({
  name: 'softmax',
  constants: {
    alias: [],
    u32: ['LANES', 'ROWS'],
    bool: [],
  },
  source: () => import('../../shaders/softmax.wgsl?raw'),
  bindings: [write('scores'), read('sinks'), write('lse'), uniform('params')],
});

export function softmaxDispatch({ B, H, N, M, returnLse, sinks }: Problem, variant: Variant, alignment: number): Dispatch {
  const { ROWS } = numbers<'ROWS'>(variant);
  return gridDispatch(
    softmax,
    variant,
    [Math.ceil(N / ROWS), B * H, 1],
    [
      ['heads', 'u32', H],
      ['n', 'u32', N],
      ['m', 'u32', M],
      ['has_lse', 'u32', Number(returnLse)],
      ['has_sinks', 'u32', Number(sinks !== undefined)],
      ['sinks_offset', 'u32', elementOffset(sinks, alignment)],
    ],
  );
}

export function softmaxBytes(variant: Variant): number {
  const { ROWS, LANES } = numbers<'ROWS' | 'LANES'>(variant);
  return 4 * ROWS * LANES; // partial
}
