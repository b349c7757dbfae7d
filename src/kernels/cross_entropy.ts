import type { Layout } from '../contract/tensor.ts';
import { type Dispatch, elementOffset, gridDispatch, type Kernel, numbers, read, uniform, type Variant, write } from '../gpu/kernel.ts';

/** The cross-entropy loss of each row of logits, and the gradient of the logits. */
export const crossEntropy: Kernel = {
  name: 'cross_entropy',
  source: () => import('../../shaders/cross_entropy.wgsl?raw'),
  bindings: [read('logits'), read('targets'), write('losses'), write('gradient'), uniform('params')],
};

/** Dense tensors. logits are [..., classes]. targets and losses have one number a row. gradient has the shape of logits, or is absent. */
export interface CrossEntropy {
  readonly logits: Layout;
  readonly targets: Layout;
  readonly losses: Layout;
  readonly gradient: Layout | undefined;
  readonly divisor: number; // the gradient is that of the losses' sum divided by this; for a mean, the number of rows that have a target
}

export function crossEntropyDispatch(
  { logits, targets, losses, gradient, divisor }: CrossEntropy,
  variant: Variant,
  alignment: number,
): Dispatch {
  const classes = logits.shape.at(-1)!;
  const rows = logits.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  return gridDispatch(
    crossEntropy,
    variant,
    [Math.ceil(rows / numbers<'ROWS'>(variant).ROWS), 1, 1],
    [
      ['rows', 'u32', rows],
      ['classes', 'u32', classes],
      ['has_gradient', 'u32', Number(gradient !== undefined)],
      ['divisor', 'f32', divisor],
      ['logits_offset', 'u32', elementOffset(logits, alignment)],
      ['targets_offset', 'u32', elementOffset(targets, alignment)],
      ['losses_offset', 'u32', elementOffset(losses, alignment)],
      ['gradient_offset', 'u32', elementOffset(gradient, alignment)],
    ],
  );
}
