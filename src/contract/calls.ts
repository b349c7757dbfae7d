/** What calls are given whose code is loaded first. It is read and checked before the wait: a later change of an object changes nothing. */
import type { BackwardOptions, ForwardResult, MergePart } from './api.ts';
import { AttentionError, quote } from './errors.ts';
import { readTensor, readTensors } from './gpu-tensor.ts';
import type { BackwardLayouts } from './options.ts';
import { normalize, OPTIONS, type Problem } from './problem.ts';
import { copyList, pick, readOptions } from './record.ts';
import { type GpuTensor, readLayout, type TensorLayout } from './tensor.ts';

const FORWARD = ['q', 'k', 'v', 'out', 'lse'] as const;
const MOST_PARTS = 2 ** 16;

/** A call of `Attention.backward`. */
export interface BackwardCall {
  readonly problem: Problem;
  readonly maskGradient: unknown;
  readonly inputs: Readonly<Record<'gradient' | (typeof FORWARD)[number], GpuTensor>> &
    Readonly<Partial<Record<'mask' | 'keyLengths' | 'alibiSlopes' | 'sinks', GpuTensor>>>;
}

/** @throws AttentionError */
export function readBackwardCall(caller: string, gradient: GpuTensor, forward: ForwardResult, options: BackwardOptions): BackwardCall {
  const { maskGradient, mask, keyLengths, alibiSlopes, sinks, ...rest } = readOptions(caller, options, [...OPTIONS, 'maskGradient']);
  if (forward === null || typeof forward !== 'object')
    throw new AttentionError('option', `${caller}: forward is ${quote(forward)}: need { q, k, v, out, lse }`);
  const given = pick(`${caller}: forward`, forward, FORWARD) as Record<(typeof FORWARD)[number], GpuTensor>;
  const missing = FORWARD.find((name) => given[name] === undefined);
  if (missing) throw new AttentionError('option', `${caller}: ${missing} is missing: need { q, k, v, out, lse }`);
  if (gradient === undefined) throw new AttentionError('option', `${caller}: gradient is missing: need [B,H,N,Dv]`);
  const tensors = readTensors(caller, { mask, keyLengths, alibiSlopes, sinks });
  const { lse, ...read } = readTensors(caller, given);
  const problem = normalize(caller, { ...rest, ...read, ...tensors });
  return { problem, maskGradient, inputs: { gradient: readTensor(`${caller}: gradient`, gradient), ...read, lse, ...tensors } };
}

/** The layouts of a problem's `backward`, each read once. @throws AttentionError 'option', 'shape' */
export function readBackward(caller: string, backward: true | BackwardLayouts): BackwardLayouts {
  if (backward === true) return {};
  if (backward === null || typeof backward !== 'object')
    throw new AttentionError('option', `${caller}: backward is ${quote(backward)}: need true or the gradients' layouts`);
  const layouts = readOptions(caller, backward, ['gradient', 'dq', 'dk', 'dv', 'dMask'], 'backward');
  const given = Object.entries<TensorLayout | undefined>({ ...layouts }).filter(([, layout]) => layout !== undefined);
  return Object.fromEntries(given.map(([name, layout]) => [name, readLayout(`${caller}: ${name}`, layout!)]));
}

/** The parts of a merge. @throws AttentionError 'shape' for what are none, 'option' for a getter that throws */
export function readParts(caller: string, given: readonly MergePart[]): readonly MergePart[] {
  const parts = copyList(`${caller}: parts`, given, MOST_PARTS);
  if (!Array.isArray(parts) || parts.length === 0)
    throw new AttentionError('shape', `${caller}: parts is ${quote(given)}: need at least one { out, lse }`);
  return parts.map((part, i) => {
    const what = `${caller}: parts[${i}]`;
    if (part === null || typeof part !== 'object') throw new AttentionError('shape', `${what} is ${quote(part)}: need { out, lse }`);
    const { out, lse } = pick(what, part, ['out', 'lse']) as unknown as MergePart;
    return { out: readTensor(`${what}.out`, out), lse: readTensor(`${what}.lse`, lse) };
  });
}
