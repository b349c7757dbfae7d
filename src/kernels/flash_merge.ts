import { AttentionError, quote } from '../errors.ts';
import { requireDType } from '../problem.ts';
import { checkLayout, type DType, describeLayout, elementCount, type Layout, rowMajor, type TensorLayout } from '../tensor.ts';
import { type Dispatch, elementOffset, type Kernel, read, uniform, viewParams, write } from './kernel.ts';

/** Attention over the union of two parts' keys. */
export const flashMerge: Kernel = {
  name: 'flash_merge',
  source: () => import('../../shaders/flash_merge.wgsl?raw'),
  bindings: [read('a_out'), read('a_lse'), read('b_out'), read('b_lse'), write('out'), write('lse'), uniform('params')],
};

/** Attention over some of the keys. */
export interface Part {
  readonly out: Layout; // [B,H,N,Dv]
  readonly lse: Layout; // [B,H,N], dense
}

/** Checks the parts of a merge: all of the same shape and type. */
export function normalizeParts(parts: readonly { out: TensorLayout; lse: TensorLayout }[]): Part[] {
  if (!Array.isArray(parts) || parts.length === 0)
    throw new AttentionError('shape', `merge: parts is ${quote(parts)}: need at least one { out, lse }`);
  const checked = parts.map(({ out, lse }, i) => {
    const layouts = { out: checkLayout(`merge: parts[${i}].out`, out, 'input'), lse: checkLayout(`merge: parts[${i}].lse`, lse, 'input') };
    requireDType(`merge: parts[${i}].out`, layouts.out, ['f32', 'f16']);
    requireDType(`merge: parts[${i}].lse`, layouts.lse, ['f32']);
    return layouts;
  });
  const [first] = checked as [Part];
  if (first.out.shape.length !== 4)
    throw new AttentionError('shape', `merge: parts[0].out is ${quote(first.out.shape)}: need rank 4, [B,H,N,Dv]`);
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

/** @param b absent: the result is a alone @param dtype of out */
export function flashMergeDispatch(a: Part, b: Part | undefined, dtype: DType, alignment: number, maxWorkgroups: number): Dispatch {
  const [, H, N, Dv] = a.out.shape as [number, number, number, number];
  const count = elementCount(a.out.shape);
  const groups = Math.ceil(count / SIZE);
  const x = Math.min(groups, maxWorkgroups);
  return {
    kernel: flashMerge,
    variant: { A: a.out.dtype, B: (b ?? a).out.dtype, O: dtype },
    params: [
      ['heads', 'u32', H],
      ['n', 'u32', N],
      ['dv', 'u32', Dv],
      ['count', 'u32', count],
      ['width', 'u32', x * SIZE],
      ['has_b', 'u32', Number(b !== undefined)],
      ...viewParams('a', a.out, 'bhn', alignment),
      ['a_lse_offset', 'u32', elementOffset(a.lse, alignment)],
      ...viewParams('b', b?.out, 'bhn', alignment),
      ['b_lse_offset', 'u32', elementOffset(b?.lse, alignment)],
    ],
    grid: [x, Math.ceil(groups / x), 1],
  };
}
