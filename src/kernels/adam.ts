import type { AdamOptions } from '../contract/adam-options.ts';
import { type Dispatch, type Kernel, linearGrid, type Param, read, uniform, write } from '../gpu/kernel.ts';

/** One step of Adam on a range of a flat list of parameters. */
export const adam: Kernel = {
  name: 'adam',
  source: () => import('../../shaders/adam.wgsl?raw'),
  bindings: [read('gradients'), write('parameters'), write('moments'), uniform('params')],
};

/** `count` elements of a flat list, from element `first` on. */
export interface Range {
  readonly first: number;
  readonly count: number;
}

/** The uniforms of a step. @param total elements of the whole list @param step 1 for the first step */
export function adamParams({ first, count }: Range, total: number, step: number, options: Required<AdamOptions>): Param[] {
  const { learningRate, beta1, beta2, epsilon } = options;
  return [
    ['first', 'u32', first],
    ['count', 'u32', count],
    ['total', 'u32', total],
    ['learning_rate', 'f32', learningRate],
    ['beta1', 'f32', beta1],
    ['beta2', 'f32', beta2],
    ['complement1', 'f32', 1 - beta1],
    ['complement2', 'f32', 1 - beta2],
    ['correction1', 'f32', 1 - beta1 ** step],
    ['correction2', 'f32', 1 - beta2 ** step],
    ['epsilon', 'f32', epsilon],
  ];
}

export function adamDispatch(range: Range, total: number, step: number, options: Required<AdamOptions>): Dispatch {
  return { kernel: adam, variant: {}, params: adamParams(range, total, step, options), grid: linearGrid(range.count) };
}
