import source from '../../shaders/softmax.wgsl?raw';
import type { Problem } from '../problem.ts';
import { type Dispatch, type Kernel, numbers, uniform, type Variant, write } from './kernel.ts';

/** weights = softmax(scores), row by row, in place; log-sum-exp beside it. */
export const softmax: Kernel = {
  name: 'softmax',
  source,
  bindings: [write('scores'), write('lse'), uniform('params')],
};

export function softmaxDispatch({ B, H, N, M, returnLse }: Problem, variant: Variant): Dispatch {
  const { ROWS } = numbers<'ROWS'>(variant);
  return {
    kernel: softmax,
    variant,
    params: [
      ['n', 'u32', N],
      ['m', 'u32', M],
      ['has_lse', 'u32', Number(returnLse)],
    ],
    grid: [Math.ceil(N / ROWS), B * H, 1],
  };
}

export function softmaxBytes(variant: Variant): number {
  const { ROWS, LANES } = numbers<'ROWS' | 'LANES'>(variant);
  return 4 * ROWS * LANES; // partial
}
