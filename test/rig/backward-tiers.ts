/** The kernels of the backward pass that a device can run, as variants that force them: tests go through all of them. */
import type { AttentionOptions } from '../../src/index.ts';

export interface BackwardTier {
  readonly name: string;
  readonly variant: NonNullable<AttentionOptions['variant']>;
}

export const backwardTiersOf = (device: GPUDevice): readonly BackwardTier[] => [
  { name: 'baseline', variant: { 'flash_backward_dq.STEP': 16, 'flash_backward_dkv.STEP': 16 } },
  ...(device.features.has('subgroups')
    ? [{ name: 'row', variant: { 'flash_backward_dq_row.ROWS': 2, 'flash_backward_dkv_row.ROWS': 2 } }]
    : []),
];
