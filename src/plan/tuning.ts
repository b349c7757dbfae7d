/** The results of `tune`, plain JSON by class of problems, and how later problems use them. */
import type { TunedVariant, Tuning } from '../contract/api.ts';
import { AttentionError, quote } from '../contract/errors.ts';
import { isVec4, type Problem, UNLIMITED } from '../contract/problem.ts';
import { readOptions } from '../contract/record.ts';

export function describeAdapter({ adapterInfo, features }: GPUDevice): string {
  const { vendor, architecture, device, isFallbackAdapter }: Partial<GPUAdapterInfo> = adapterInfo ?? {};
  return [vendor, architecture, device, isFallbackAdapter ? 'software' : '', features.has('subgroups') ? 'subgroups' : '']
    .filter(Boolean)
    .join(' ');
}

/**
 * The class of a problem, as text. One measurement serves all problems of a class. They have the same head counts, head sizes and types, the same options
 * that change the time, and batch sizes and lengths that round up to the same power of two. Of offsets and strides only one fact counts: whether they allow
 * access to whole vec4.
 */
export function tuningClass(problem: Problem): string {
  const { B, H, Hk, N, M, D, Dv, q, k, mask, keyLengths, alibiSlopes, sinks, left, right, softcap, dropout, returnScores } = problem;
  const upTo = (length: number) => 2 ** Math.ceil(Math.log2(length));
  const flags = {
    ...{ mask, keyLengths, alibiSlopes, sinks, softcap: softcap !== 0, dropout, returnScores },
    ...{ left: left < UNLIMITED, right: right < UNLIMITED, scattered: !isVec4(problem) },
  };
  const set = Object.entries(flags)
    .filter(([, value]) => value)
    .map(([name]) => name);
  return [`B${upTo(B)} H${H}/${Hk} N${upTo(N)} M${upTo(M)} D${D} Dv${Dv} ${q.dtype} ${k.dtype}`, ...set].join(' ');
}

/**
 * The problem with the variant that was measured for its class. The problem stays unchanged where nothing was measured, where the caller forces an algorithm
 * or a variant, and where explicit was fastest but this problem's N×M scores do not fit a binding.
 */
export function withTuning(problem: Problem, fastest: Tuning['fastest'], limits: GPUSupportedLimits): Problem {
  if (problem.algorithm !== 'auto' || Object.keys(problem.variant).length > 0) return problem;
  const key = tuningClass(problem);
  const tuned = Object.hasOwn(fastest, key) ? fastest[key] : undefined;
  const { B, H, N, M } = problem;
  const isTooLarge = 4 * B * H * N * M > Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  if (!tuned || (tuned.algorithm === 'explicit' && isTooLarge)) return problem;
  return { ...problem, algorithm: tuned.algorithm, variant: tuned.variant, forcedBy: 'tuning' };
}

/** A tuning as a caller keeps it, read once. @throws AttentionError 'option' for what is none */
export function readTuning(given: Tuning): Tuning {
  const caller = 'createAttention';
  const need = (isRight: boolean, why: string) => {
    if (!isRight) throw new AttentionError('option', `${caller}: tuning is ${quote(given)}: need what tune() gave: ${why}`);
  };
  const { adapter, fastest } = readOptions(caller, given, ['adapter', 'fastest'], 'tuning');
  need(typeof adapter === 'string', `adapter is ${quote(adapter)}`);
  const read = ([key, entry]: [string, TunedVariant]): [string, TunedVariant] => {
    const name = `tuning.fastest[${quote(key)}]`;
    const { algorithm, variant, milliseconds } = readOptions(caller, entry, ['algorithm', 'variant', 'milliseconds'], name);
    need(algorithm === 'explicit' || algorithm === 'fused', `algorithm is ${quote(algorithm)}`);
    const kernels = Object.entries(readOptions(caller, variant, undefined, `${name}.variant`));
    for (const [kernel, constants] of kernels) need(typeof constants === 'object', `${kernel} is ${quote(constants)}`);
    const constants = kernels.map(([kernel, own]) => [kernel, readOptions(caller, own, undefined, `${name}.variant.${kernel}`)]);
    return [key, { algorithm, variant: Object.fromEntries(constants), milliseconds }];
  };
  return { adapter, fastest: Object.fromEntries(Object.entries(readOptions(caller, fastest, undefined, 'tuning.fastest')).map(read)) };
}

/** @throws AttentionError 'option' for a tuning of another adapter or other features */
export function checkAdapter({ adapter }: Tuning, device: GPUDevice): void {
  const here = describeAdapter(device);
  if (adapter !== here)
    throw new AttentionError(
      'option',
      `createAttention: tuning was measured on ${quote(adapter)}, this device is ${quote(here)}: tune again`,
    );
}
