import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, elementOffset, gridDispatch, type Kernel, read, uniform, write } from '../gpu/kernel.ts';

/** The gradient of the sinks. */
export const flashBackwardSinks: Kernel = {
  name: 'flash_backward_sinks',
  source: () => import('../../shaders/flash_backward_sinks.wgsl?raw'),
  bindings: [read('sinks'), read('rows'), write('dsinks'), uniform('params')],
};

export function flashBackwardSinksDispatch({ B, H, N, sinks, dSinks }: BackwardProblem, alignment: number): Dispatch {
  return gridDispatch(
    flashBackwardSinks,
    {},
    [H, 1, 1],
    [
      ['batch', 'u32', B],
      ['heads', 'u32', H],
      ['n', 'u32', N],
      ['sinks_offset', 'u32', elementOffset(sinks, alignment)],
      ['dsinks_offset', 'u32', elementOffset(dSinks, alignment)],
    ],
  );
}
