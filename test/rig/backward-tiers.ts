/** The kernels of the backward pass that a device can run, as variants that force them: tests go through all of them. */
import type { AttentionOptions } from '../../src/index.ts';
import { runsPlainKernels } from './tiers.ts';

export interface BackwardTier {
  readonly name: string;
  readonly variant: NonNullable<AttentionOptions['variant']>;
}

const rowTier = (rows: number): BackwardTier => ({
  name: 'row',
  variant: { 'flash_backward_dq_row.ROWS': rows, 'flash_backward_dkv_row.ROWS': rows },
});

/**
 * @param width the longer of the heads' sizes: beyond 128 only the baseline has them
 * @param rows how many an invocation of the row kernels holds: more take a software device longer to compile
 */
export function backwardTiersOf(device: GPUDevice, width: number, rows = 1): readonly BackwardTier[] {
  const isLong = width > 128;
  return [
    ...(isLong || runsPlainKernels(device)
      ? [{ name: 'baseline', variant: { 'flash_backward_dq.STEP': 16, 'flash_backward_dkv.STEP': 16 } }]
      : []),
    ...(!isLong && device.features.has('subgroups') ? [rowTier(rows)] : []),
  ];
}
