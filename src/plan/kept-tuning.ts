/** What tune measured, as callers keep it. Loaded when somebody tunes, or gives a tuning. */
import type { TunedVariant, Tuning } from '../contract/api.ts';
import { AttentionError, quote } from '../contract/errors.ts';
import { readVariant } from '../contract/problem.ts';
import { readOptions } from '../contract/record.ts';

export function describeAdapter({ adapterInfo, features }: GPUDevice): string {
  const { vendor, architecture, device, isFallbackAdapter }: Partial<GPUAdapterInfo> = adapterInfo ?? {};
  return [vendor, architecture, device, isFallbackAdapter ? 'software' : '', features.has('subgroups') ? 'subgroups' : '']
    .filter(Boolean)
    .join(' ');
}

/** A tuning as a caller kept it, read once. @throws AttentionError 'option' for what is none, or one of another adapter or other features */
export function readTuning(given: Tuning, device: GPUDevice): Tuning {
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
    const kernels = readVariant(caller, variant, `${name}.variant`);
    const isRight = Object.values(kernels).every((constants) => typeof constants === 'object');
    need(isRight, `variant is ${quote(variant)}`);
    return [key, { algorithm, variant: kernels as TunedVariant['variant'], milliseconds }];
  };
  const entries = Object.entries(readOptions(caller, fastest, undefined, 'tuning.fastest')).map(read);
  checkAdapter(adapter, device);
  return { adapter, fastest: Object.fromEntries(entries) };
}

function checkAdapter(adapter: string, device: GPUDevice): void {
  const own = describeAdapter(device);
  if (adapter !== own)
    throw new AttentionError(
      'option',
      `createAttention: tuning was measured on ${quote(adapter)}, this device is ${quote(own)}: tune again`,
    );
}
