/** The fused pass's kernels that a device can run, each with variants that force it: tests go through all of them. */
import type { AttentionOptions } from '../../src/index.ts';

export interface Tier {
  readonly kernel: string;
  readonly variant: NonNullable<AttentionOptions['variant']>;
}

const ROW_FLAGS = { SOFTCAP: true, ALIBI: true, SKIP_ZEROS: true, DROPOUT: true };
const FLAGS = { SKIP_ZEROS: true, DROPOUT: true };
/** Of each kernel the flags that may be true where the problem does not need what they do: the numbers stay the same. */
export const GENERAL: Readonly<Record<string, object>> = {
  ...{ flash_forward: FLAGS, flash_forward_quad: FLAGS, flash_forward_row: { ...ROW_FLAGS, D_TAIL: true, DV_TAIL: true } },
  flash_decode: { SOFTCAP: true, ALIBI: true, BAND: true, DROPOUT: true, D_TAIL: true, DV_TAIL: true },
  ...{ flash_backward_dq: FLAGS, flash_backward_dkv: FLAGS, flash_backward_dq_quad: FLAGS, flash_backward_dkv_quad: FLAGS },
  ...{ flash_backward_dq_row: ROW_FLAGS, flash_backward_dkv_row: ROW_FLAGS },
};

/** A variant whose kernels have these constants too. */
export const withConstants = (variant: Tier['variant'], constantsOf: (kernel: string) => object): Tier['variant'] =>
  Object.fromEntries(Object.entries(variant).map(([kernel, constants]) => [kernel, { ...constants, ...constantsOf(kernel) }]));

/** A variant with every flag that its kernels may have: one pipeline for all options but the kind of a mask. */
export const withEveryFlag = (variant: Tier['variant']): Tier['variant'] => withConstants(variant, (kernel) => GENERAL[kernel] ?? {});

/** What some GPUs take, whatever the device: heads up to 128, in tiles that are wide, and by lanes that share keys. */
export const WIDE_TILES = { flash_forward: { TILE_N: 16, TILE_M: 128, STEP: 8, KEYS: 8, BLOCKS: 1 } };
const SHARED_KEYS = { SIZE: 32, LANES: 8, ROWS: 2, KEYS: 4, COLS: 4, D_BLOCKS: 1, DV_BLOCKS: 1 };

const PLAIN: readonly Tier[] = [
  { kernel: 'flash_forward', variant: { flash_forward: { TILE_N: 16 } } },
  { kernel: 'flash_forward', variant: WIDE_TILES },
  ...[2, 1, 5].map((SPLITS) => ({ kernel: 'flash_decode', variant: { flash_decode: { SPLITS, ROWS: 2 } } })),
  { kernel: 'flash_decode', variant: { flash_decode: { ...SHARED_KEYS, SPLITS: 3 } } },
];

/**
 * Kernels that need no feature do the same on any device, and every suite has one without features: one with more need not compile them again, unless
 * it is the one that has f16.
 */
export const runsPlainKernels = ({ features }: GPUDevice): boolean => !features.has('subgroups') || features.has('shader-f16');

/** Of a suite's tiers those that can notice a fault: all, and with `npm run mutants` those with the faulty kernel, where there are any. */
export function noticing<T extends Pick<Tier, 'variant'>>(tiers: readonly T[]): readonly T[] {
  const own = tiers.filter(({ variant }) => Object.hasOwn(variant, String(import.meta.env.VITE_FAULTY)));
  return own.length > 0 ? own : tiers;
}

export const tiersOf = (device: GPUDevice): readonly Tier[] =>
  noticing([
    ...(runsPlainKernels(device) ? PLAIN : []),
    ...(device.features.has('subgroups')
      ? [
          ...[4, 2, 1].map((ROWS) => ({ kernel: 'flash_forward_quad', variant: { flash_forward_quad: { ROWS } } })),
          ...[8, 16]
            .filter((lanes) => lanes <= (device.adapterInfo.subgroupMinSize ?? 4))
            .map((LANES) => ({ kernel: 'flash_forward_quad', variant: { flash_forward_quad: { LANES } } })),
          ...[1, 2, 8].map((ROWS) => ({ kernel: 'flash_forward_row', variant: { flash_forward_row: { ROWS } } })),
        ]
      : []),
  ]);

/** One variant a kernel. */
export const firstTiersOf = (device: GPUDevice): readonly Tier[] =>
  tiersOf(device).filter(({ kernel }, i, tiers) => tiers.findIndex((tier) => tier.kernel === kernel) === i);
