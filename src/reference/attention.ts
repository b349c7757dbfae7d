import { AttentionError } from '../errors.ts';
import { type AttentionOptions, checkOptionKeys, normalize } from '../problem.ts';
import type { HostTensor } from '../tensor.ts';
import { context } from './context.ts';
import { type BooleanTensor, checkHostMask, checkHostTensor, checkIntegers, type Integers } from './host.ts';
import { scores } from './scores.ts';
import { softmax } from './softmax.ts';

/** The options of `scaledDotProductAttention`, with host tensors. */
export interface ReferenceOptions extends Omit<AttentionOptions<HostTensor>, 'mask' | 'keyLengths'> {
  /** Rank 1 to 4, broadcast to [B,H,N,M]: Uint8Array or booleans, true = attend; or numbers, added to the scores. */
  mask?: HostTensor | BooleanTensor;
  /** [B]: keys from this index on do not exist. */
  keyLengths?: Integers;
}

/** Each tensor's data is a Float64Array. */
export interface ReferenceOutput {
  readonly out: HostTensor; // [B,H,N,Dv]
  readonly lse?: HostTensor; // [B,H,N]
  readonly scores?: HostTensor; // [B,H,N,M]
}

/**
 * Scaled dot-product attention on the CPU, in f64 and in plain loops: scores, softmax, context.
 * @param q [B,H,N,D]
 * @param k [B,Hk,M,D]; Hk divides H
 * @param v [B,Hk,M,Dv]
 * @throws AttentionError 'shape', 'dtype', 'option' or 'unsupported', as on the GPU
 */
export function scaledDotProductAttention(q: HostTensor, k: HostTensor, v: HostTensor, options: ReferenceOptions = {}): ReferenceOutput {
  const caller = 'reference.scaledDotProductAttention';
  checkOptionKeys(caller, options);
  const { mask: maskOption, keyLengths: lengthsOption, alibiSlopes, sinks, variant, ...rest } = options;
  if (alibiSlopes !== undefined || sinks !== undefined) {
    throw new AttentionError('unsupported', `${caller}: ${sinks === undefined ? 'alibiSlopes' : 'sinks'}: not supported yet`);
  }
  if (variant !== undefined) throw new AttentionError('option', `${caller}: variant forces GPU tiles, the reference has none`);
  const mask = maskOption === undefined ? undefined : { ...checkHostMask(`${caller}: mask`, maskOption), shape: maskOption.shape };
  const lengths = lengthsOption === undefined ? undefined : checkIntegers(`${caller}: keyLengths`, lengthsOption);
  const data = { q: checkHostTensor(`${caller}: q`, q), k: checkHostTensor(`${caller}: k`, k), v: checkHostTensor(`${caller}: v`, v) };
  const problem = normalize(caller, {
    ...rest,
    q: { shape: q.shape, dtype: 'f32' },
    k: { shape: k.shape, dtype: 'f32' },
    v: { shape: v.shape, dtype: 'f32' },
    ...(mask ? { mask: { shape: mask.shape, dtype: mask.dtype } } : {}),
    ...(lengths ? { keyLengths: { shape: lengths.shape, dtype: 'u32' as const } } : {}),
  });

  const { B, H, N, M, Dv, returnScores } = problem;
  const inputs = { q: data.q, k: data.k, mask: mask?.data, keyLengths: lengths?.data };
  const masked = scores(problem, inputs);
  const { weights, lse } = softmax(masked, M);
  const out: HostTensor = { data: context(problem, weights, data.v), shape: [B, H, N, Dv] };
  const form = () => {
    if (returnScores === 'weights') return weights;
    return returnScores === 'masked' ? masked : scores(problem, inputs, returnScores);
  };
  return {
    out,
    ...(problem.returnLse ? { lse: { data: lse, shape: [B, H, N] } } : {}),
    ...(returnScores ? { scores: { data: form(), shape: [B, H, N, M] } } : {}),
  };
}
