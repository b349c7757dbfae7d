/** The kernels of the backward pass that a device can run, as variants that force them: tests go through all of them. */
import type { AttentionOptions } from '../../src/index.ts';
import { noticing, runsPlainKernels, withConstants } from './tiers.ts';

type Variant = NonNullable<AttentionOptions['variant']>;

export interface BackwardTier {
  readonly name: string;
  readonly variant: Variant;
  /** Forces a forward pass that sums scores in the same order: large ones have few digits left. */
  readonly alikeForward: Variant;
}

/** Forces the forward pass that compiles most quickly, for heads up to 256: one pipeline for all sizes of as many blocks. */
export const QUICK_FORWARD: Variant = { flash_forward: { TILE_N: 16, SKIP_ZEROS: true } };

/**
 * @param width the longer of the heads' sizes: beyond 256 only the baseline has them, beyond 128 the row kernels have not
 * @param rows how many an invocation of the row kernels holds: more take a software device longer to compile
 */
export function backwardTiersOf(device: GPUDevice, width: number, rows = 1): readonly BackwardTier[] {
  const hasQuads = device.features.has('subgroups');
  const alikeForward = width > 256 ? {} : QUICK_FORWARD; // longer heads have no fused pass
  return noticing([
    ...(runsPlainKernels(device) || width > 256
      ? [{ name: 'baseline', variant: { flash_backward_dq: { STEP: 16 }, flash_backward_dkv: { STEP: 16 } }, alikeForward }]
      : []),
    ...(hasQuads && width <= 128
      ? [{ name: 'row', variant: { flash_backward_dq_row: { ROWS: rows }, flash_backward_dkv_row: { ROWS: rows } }, alikeForward }]
      : []),
    ...(hasQuads && width <= 256 ? [quads(device, width)] : []),
  ]);
}

/** Over as many lanes as subgroups have; one of two variants takes a width, so that tests of many sizes compile few. */
function quads({ adapterInfo }: GPUDevice, width: number): BackwardTier {
  const lanes = Math.min(16, Math.max(4, adapterInfo?.subgroupMinSize ?? 4));
  const vecs = (width <= 64 ? 64 : 256) / (4 * lanes);
  const shared = { ROWS: 2, D_VECS: vecs, DV_VECS: vecs, LANES: lanes };
  const variant = {
    flash_backward_dq_quad: shared,
    flash_backward_dkv_quad: { ...shared, PARTS: width <= 64 ? 1 : 2 },
  };
  const alikeForward = { flash_forward_quad: { LANES: lanes, ROWS: 1 } };
  return { name: 'quad', variant, alikeForward };
}

/** Kernels that look for zeros give the same gradients, so that suites share pipelines; test/kernels/flash_backward.test.ts has some that do not look. */
export const skippingZeros = (variant: Variant): Variant => withConstants(variant, () => ({ SKIP_ZEROS: true }));
