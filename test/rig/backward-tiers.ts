/** The kernels of the backward pass that a device can run, as variants that force them: tests go through all of them. */
import type { AttentionOptions } from '../../src/index.ts';

type Variant = NonNullable<AttentionOptions['variant']>;

export interface BackwardTier {
  readonly name: string;
  readonly variant: Variant;
}

/** @param size of the longer head: one of two variants of the quad kernels takes it, so that tests of many sizes compile few */
export const backwardTiersOf = (device: GPUDevice, size = 64): readonly BackwardTier[] => [
  { name: 'baseline', variant: { 'flash_backward_dq.STEP': 16, 'flash_backward_dkv.STEP': 16 } },
  ...(device.features.has('subgroups')
    ? [
        { name: 'row', variant: { 'flash_backward_dq_row.ROWS': 2, 'flash_backward_dkv_row.ROWS': 2 } },
        { name: 'quad', variant: quad(size) },
      ]
    : []),
];

function quad(size: number): Variant {
  const vecs = size <= 64 ? 4 : 16; // of 4 lanes
  const shared = { ROWS: 2, D_VECS: vecs, DV_VECS: vecs, LANES: 4 };
  const of = (kernel: string) => Object.fromEntries(Object.entries(shared).map(([name, value]) => [`${kernel}.${name}`, value]));
  return { ...of('flash_backward_dq_quad'), ...of('flash_backward_dkv_quad'), 'flash_backward_dkv_quad.PARTS': size <= 64 ? 1 : 2 };
}
