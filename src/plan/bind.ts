/** Checks a caller's tensors against the layouts that a plan was made for, and makes their bindings. */
import { AttentionError, quote } from '../contract/errors.ts';
import { readTensor } from '../contract/gpu-tensor.ts';
import { withoutLastOne } from '../contract/problem.ts';
import { readOptions } from '../contract/record.ts';
import { checkLayout, dense, describeLayout, type GpuTensor, type Layout, sameLayout } from '../contract/tensor.ts';
import { bindingOf } from '../gpu/program.ts';
import type { Session } from '../gpu/session.ts';

/** Layouts by tensor name. undefined: a tensor that the plan was made without. */
export type Expected = Readonly<Record<string, Layout | undefined>>;
/** Bindings by tensor name. */
export type Bound = Record<string, Required<GPUBufferBinding>>;

/**
 * Checks every tensor against the plan's layout of the same name. `workspace` is a GPUBuffer, not a tensor.
 * @throws AttentionError 'shape', 'dtype' or 'option', as AttentionPlan says
 */
export function bindTensors(caller: string, { device, pool }: Session, expected: Expected, tensors: object): Bound {
  const read = readOptions(caller, tensors, Object.keys(expected), undefined, 'tensor') as Record<string, GpuTensor> & {
    workspace?: GPUBuffer;
  };
  const scratch = read.workspace && { buffer: read.workspace, ...(expected.workspace ?? dense([1])) };
  const given: Record<string, GpuTensor | undefined> = { ...read, workspace: scratch };
  const bound: Bound = {};
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  for (const [name, layout] of Object.entries(expected)) {
    const what = `${caller}: ${name}`;
    const tensor = given[name] === undefined ? undefined : readTensor(what, given[name]);
    if (layout && !tensor) throw new AttentionError('option', `${what} is missing: the plan needs ${describeLayout(layout)}`);
    if (!layout && tensor && name !== 'workspace')
      throw new AttentionError('option', `${caller}: got ${name} ${quote(tensor.shape)}, but the plan was made without it`);
    if (!layout || !tensor) continue;
    const own = checkTensor(what, tensor, layout, alignment);
    pool.check(what, tensor, own, 'STORAGE');
    bound[name] = bindingOf(tensor.buffer, own, alignment);
  }
  return bound;
}

function checkTensor(what: string, tensor: GpuTensor, expected: Layout, alignment: number): Layout {
  const layout = checkLayout(what, tensor, 'input');
  if (layout.dtype !== expected.dtype)
    throw new AttentionError('dtype', `${what} is ${describeLayout(layout)}, the plan has ${describeLayout(expected)}`);
  const compared = /mask$/i.test(what) ? padRank(layout, expected) : what.endsWith('keyLengths') ? withoutLastOne(layout) : layout;
  if (!sameLayout(compared, expected, alignment)) {
    const offsets = `offsets modulo ${alignment}: ${layout.offset % alignment} and ${expected.offset % alignment}`;
    throw new AttentionError('shape', `${what} is ${describeLayout(layout)}, the plan has ${describeLayout(expected)} (${offsets})`);
  }
  return layout;
}

/** A mask's layout with leading dimensions of size 1, up to the rank of the expected layout. */
function padRank(layout: Layout, expected: Layout): Layout {
  const missing = Math.max(0, expected.shape.length - layout.shape.length);
  return {
    ...layout,
    shape: [...new Array<number>(missing).fill(1), ...layout.shape],
    strides: [...new Array<number>(missing).fill(0), ...layout.strides],
  };
}
