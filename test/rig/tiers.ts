/** The fused pass's kernels that a device can run, each with variants that force it: tests go through all of them. */
import type { AttentionOptions } from '../../src/index.ts';

export interface Tier {
  readonly kernel: string;
  readonly variant: NonNullable<AttentionOptions['variant']>;
}

export const tiersOf = (device: GPUDevice): readonly Tier[] => [
  { kernel: 'flash_forward', variant: { 'flash_forward.TILE_N': 16 } },
  ...(device.features.has('subgroups')
    ? [
        ...[1, 2, 4].map((KEYS) => ({ kernel: 'flash_forward_quad', variant: { 'flash_forward_quad.KEYS': KEYS } })),
        ...[1, 2, 8].map((ROWS) => ({ kernel: 'flash_forward_row', variant: { 'flash_forward_row.ROWS': ROWS } })),
      ]
    : []),
];

/** One variant a kernel. */
export const firstTiersOf = (device: GPUDevice): readonly Tier[] =>
  tiersOf(device).filter(({ kernel }, i, tiers) => tiers.findIndex((tier) => tier.kernel === kernel) === i);
