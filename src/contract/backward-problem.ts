/** The contract of the backward pass. The tensors that it reads beside the forward pass's inputs, and those that it writes, are checked here once. */
import { AttentionError, quote } from './errors.ts';
import type { BackwardLayouts } from './options.ts';
import type { Problem } from './problem.ts';
import { checkLayout, type DType, dense, describeLayout, type Layout, type TensorLayout } from './tensor.ts';

/** A checked problem with the layouts of its gradients. Plain data. */
export interface BackwardProblem extends Problem {
  readonly gradient: Layout; // the gradient of out, [B,H,N,Dv]
  readonly lse: Layout; // [B,H,N]
  readonly dq: Layout;
  readonly dk: Layout;
  readonly dv: Layout;
  readonly dMask: Layout | undefined; // f32, rank 4, of the mask's own shape
  readonly dSinks: Layout | undefined; // f32 [H]
}

/** The layouts of gradients and lse, dense where absent, and whether to compute the mask's gradient. */
export interface Given extends BackwardLayouts {
  readonly lse?: TensorLayout;
  readonly maskGradient?: unknown;
}

/** `variant` in two: what it forces of the forward pass's kernels and of the backward pass's. */
export function splitVariant(variant: Problem['variant']): Record<'forward' | 'backward', Problem['variant']> {
  const isBackward = (name: string) => name.startsWith('flash_backward_');
  const entries = Object.entries(variant);
  return {
    forward: Object.fromEntries(entries.filter(([name]) => !isBackward(name))),
    backward: Object.fromEntries(entries.filter(([name]) => isBackward(name))),
  };
}

/** @throws AttentionError 'shape', 'dtype' or 'option', which names `caller` */
export function normalizeBackward(caller: string, problem: Problem, given: Given): BackwardProblem {
  const { B, H, N, q, k, v, out, mask, sinks, returnScores } = problem;
  const { maskGradient = false } = given;
  if (returnScores !== undefined)
    throw new AttentionError('option', `${caller}: returnScores is ${quote(returnScores)}: scores have no gradient here`);
  if (typeof maskGradient !== 'boolean')
    throw new AttentionError('option', `${caller}: maskGradient is ${quote(maskGradient)}: need true or false`);
  if (maskGradient && (mask === undefined || mask.dtype === 'bool')) {
    const got = mask ? describeLayout(mask) : 'undefined';
    throw new AttentionError('option', `${caller}: maskGradient needs an additive mask, mask is ${got}`);
  }
  if (given.dMask !== undefined && !maskGradient)
    throw new AttentionError('option', `${caller}: got a layout of dMask, but maskGradient is ${quote(maskGradient)}`);
  const like = (name: keyof Given, { shape, dtype }: { shape: readonly number[]; dtype: DType }, use: 'input' | 'output' = 'output') =>
    checkGradient(`${caller}: ${name}`, given[name] as TensorLayout | undefined, shape, dtype, use);
  return {
    ...problem,
    gradient: like('gradient', out, 'input'),
    lse: like('lse', dense([B, H, N]), 'input'),
    dq: like('dq', q),
    dk: like('dk', k),
    dv: like('dv', v),
    dMask: maskGradient && mask ? like('dMask', { shape: mask.shape, dtype: 'f32' }) : undefined,
    dSinks: sinks && dense([H]),
  };
}

/** Checks that a layout has this shape and this type. The layout of dMask may lack leading dimensions of size 1. */
function checkGradient(
  what: string,
  given: TensorLayout | undefined,
  shape: readonly number[],
  dtype: DType,
  use: 'input' | 'output',
): Layout {
  const layout = checkLayout(what, given === undefined ? { shape, dtype } : given, use);
  const missing = Math.max(0, what.endsWith('dMask') ? shape.length - layout.shape.length : 0);
  const padded = [...new Array<number>(missing).fill(1), ...layout.shape];
  if (quote(padded) !== quote(shape)) throw new AttentionError('shape', `${what} is ${quote(layout.shape)}: need ${quote(shape)}`);
  if (layout.dtype !== dtype) throw new AttentionError('dtype', `${what} is ${describeLayout(layout)}: need ${dtype}`);
  return { ...layout, shape: padded, strides: [...new Array<number>(missing).fill(0), ...layout.strides] };
}
