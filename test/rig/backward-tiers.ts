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
        { name: 'quad', variant: quad(device, size) },
      ]
    : []),
];

/** Over as many lanes as subgroups have. */
function quad({ adapterInfo }: GPUDevice, size: number): Variant {
  const lanes = Math.min(16, Math.max(4, adapterInfo?.subgroupMinSize ?? 4));
  const vecs = (size <= 64 ? 64 : 256) / (4 * lanes);
  const shared = { ROWS: 2, D_VECS: vecs, DV_VECS: vecs, LANES: lanes };
  const of = (kernel: string) => Object.fromEntries(Object.entries(shared).map(([name, value]) => [`${kernel}.${name}`, value]));
  return { ...of('flash_backward_dq_quad'), ...of('flash_backward_dkv_quad'), 'flash_backward_dkv_quad.PARTS': size <= 64 ? 1 : 2 };
}
