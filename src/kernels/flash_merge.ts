import { AttentionError, quote } from '../contract/errors.ts';
import { type Problem, requireDType } from '../contract/problem.ts';
import { checkLayout, type DType, describeLayout, elementCount, type Layout, rowMajor, type TensorLayout } from '../contract/tensor.ts';
import { type Dispatch, elementOffset, type Kernel, read, uniform, viewParams, write } from '../gpu/kernel.ts';

/** Merges attention over parts of the keys into attention over all of them. The parts are two tensors, or the splits of flash_decode. */
export const flashMerge: Kernel = {
  name: 'flash_merge',
  source: () => import('../../shaders/flash_merge.wgsl?raw'),
  bindings: [read('a_out'), read('a_lse'), read('b_out'), read('b_lse'), read('sinks'), write('out'), write('lse'), uniform('params')],
};

/** The layouts of attention over some of the keys. */
export interface Part {
  readonly out: Layout; // [B,H,N,Dv]
  readonly lse: Layout; // [B,H,N], dense
}

/** Checks the parts of a merge. All must have the same shape and type. @throws AttentionError 'shape' or 'dtype' */
export function normalizeParts(parts: readonly { out: TensorLayout; lse: TensorLayout }[]): Part[] {
  const checked = parts.map(({ out, lse }, i) => {
    const layouts = { out: checkLayout(`merge: parts[${i}].out`, out, 'input'), lse: checkLayout(`merge: parts[${i}].lse`, lse, 'input') };
    requireDType(`merge: parts[${i}].out`, layouts.out, ['f32', 'f16']);
    requireDType(`merge: parts[${i}].lse`, layouts.lse, ['f32']);
    return layouts;
  });
  const [first] = checked as [Part];
  if (first.out.shape.length !== 4)
    throw new AttentionError('shape', `merge: parts[0].out is ${quote(first.out.shape)}: need rank 4, [B,H,N,Dv]`);
  if (first.out.shape[3] === 0)
    throw new AttentionError('shape', `merge: parts[0].out is ${quote(first.out.shape)}: Dv must be at least 1`);
  const rows = first.out.shape.slice(0, 3);
  for (const [i, { out, lse }] of checked.entries()) {
    if (quote(out.shape) !== quote(first.out.shape) || out.dtype !== first.out.dtype) {
      throw new AttentionError(
        out.dtype === first.out.dtype ? 'shape' : 'dtype',
        `merge: parts[${i}].out is ${describeLayout(out)}, parts[0].out is ${describeLayout(first.out)}: must be equal`,
      );
    }
    if (quote(lse.shape) !== quote(rows) || quote(lse.strides) !== quote(rowMajor(rows))) {
      throw new AttentionError('shape', `merge: parts[${i}].lse is ${describeLayout(lse)}: need a dense ${quote(rows)}`);
    }
  }
  return checked;
}

const SIZE = 64;

/** Merges two parts. @param b absent: the result is `a` alone @param dtype the type of the result's out; its lse is f32 */
export function flashMergeDispatch(a: Part, b: Part | undefined, dtype: DType, alignment: number, maxWorkgroups: number): Dispatch {
  const out = checkLayout('merge: out', { shape: a.out.shape, dtype }, 'output');
  const parts = { count: 1, out: a.out, lse: a.lse, outStride: 0, lseStride: 0, hasSums: false };
  return mergeDispatch(parts, b, out, { hasLse: true }, alignment, maxWorkgroups);
}

/** Merges the parts that flash_decode left in the workspace. Counts the sinks, which flash_decode left out. */
export function mergeSplitsDispatch(problem: Problem, splits: number, alignment: number, maxWorkgroups: number): Dispatch {
  const { B, H, N, Dv, out, sinks, returnLse } = problem;
  const parts = {
    count: splits,
    out: checkLayout('splits', { shape: [B, H, N, Dv], dtype: 'f32' }, 'output'),
    lse: checkLayout('splits', { shape: [B, H, N], dtype: 'f32' }, 'output'),
    outStride: B * H * N * Dv,
    lseStride: 2 * B * H * N,
    hasSums: true,
  };
  return mergeDispatch(parts, undefined, out, { sinks, hasLse: returnLse }, alignment, maxWorkgroups);
}

/** Parts that lie in one buffer at equal distances. */
interface Parts extends Part {
  readonly count: number;
  readonly outStride: number; // elements from one part to the next
  readonly lseStride: number;
  readonly hasSums: boolean; // out is not normalised, and lse holds maxima and sums in place of log-sum-exps
}

function mergeDispatch(
  a: Parts,
  b: Part | undefined,
  out: Layout,
  { sinks, hasLse }: { sinks?: Layout | undefined; hasLse: boolean },
  alignment: number,
  maxWorkgroups: number,
): Dispatch {
  const [, H, N, Dv] = out.shape as [number, number, number, number];
  const count = elementCount(out.shape);
  const groups = Math.ceil(count / SIZE);
  const x = Math.min(groups, maxWorkgroups);
  const [[aOffset, ...aStrides], bView] = [viewParams('a', a.out, 'bhn', alignment), viewParams('b', b?.out, 'bhn', alignment)] as const;
  return {
    kernel: flashMerge,
    variant: { A: a.out.dtype, B: (b ?? a).out.dtype, O: out.dtype },
    params: [
      ['heads', 'u32', H],
      ['n', 'u32', N],
      ['dv', 'u32', Dv],
      ['count', 'u32', count],
      ['width', 'u32', x * SIZE],
      ['parts', 'u32', a.count],
      ['has_b', 'u32', Number(b !== undefined)],
      ['has_sums', 'u32', Number(a.hasSums)],
      ['has_sinks', 'u32', Number(sinks !== undefined)],
      ['has_lse', 'u32', Number(hasLse)],
      aOffset!,
      ['a_part', 'u32', a.outStride],
      ...aStrides,
      ['a_lse_offset', 'u32', elementOffset(a.lse, alignment)],
      ['a_lse_part', 'u32', a.lseStride],
      ...bView,
      ['b_lse_offset', 'u32', elementOffset(b?.lse, alignment)],
      ['sinks_offset', 'u32', elementOffset(sinks, alignment)],
      ...viewParams('out', out, 'bhn', alignment),
    ],
    grid: [x, Math.ceil(groups / Math.max(1, x)), 1],
  };
}
