import { AttentionError, quote } from '../errors.ts';
import type { AttentionOptions } from '../options.ts';
import { checkOptionKeys, normalize, type Problem } from '../problem.ts';
import type { HostTensor } from '../tensor.ts';
import { context } from './context.ts';
import { dropoutKeep } from './dropout.ts';
import { type BooleanTensor, checkHostMask, checkHostTensor, checkIntegers, type Integers } from './host.ts';
import { scores } from './scores.ts';
import { softmax } from './softmax.ts';

/** The options of `scaledDotProductAttention`, with host tensors. */
export interface ReferenceOptions extends Omit<AttentionOptions<HostTensor>, 'mask' | 'keyLengths' | 'variant'> {
  /** Rank 1 to 4, broadcast to [B,H,N,M]: Uint8Array or booleans, true = attend; or numbers, added to the scores. */
  mask?: HostTensor | BooleanTensor;
  /** [B]: keys from this index on do not exist. */
  keyLengths?: Integers;
  /** [B,H,N,M]: which weights `dropout` keeps, in place of what its seed draws. */
  keep?: BooleanTensor;
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
  const { mask: maskOption, keyLengths: lengthsOption, alibiSlopes: slopesOption, sinks: sinksOption, keep: keepOption, ...rest } = options;
  checkOptionKeys(caller, rest);
  if ('variant' in rest) throw new AttentionError('option', `${caller}: variant forces GPU tiles, the reference has none`);
  const mask = maskOption && { ...checkHostMask(`${caller}: mask`, maskOption), shape: maskOption.shape };
  const lengths = lengthsOption && checkIntegers(`${caller}: keyLengths`, lengthsOption);
  const data = { q: checkHostTensor(`${caller}: q`, q), k: checkHostTensor(`${caller}: k`, k), v: checkHostTensor(`${caller}: v`, v) };
  const alibiSlopes = slopesOption && checkHostTensor(`${caller}: alibiSlopes`, slopesOption);
  const sinks = sinksOption && checkHostTensor(`${caller}: sinks`, sinksOption);
  const layout = ({ shape }: HostTensor) => ({ shape, dtype: 'f32' as const });
  const problem = normalize(caller, {
    ...rest,
    ...{ q: layout(q), k: layout(k), v: layout(v) },
    ...(mask && { mask: { shape: mask.shape, dtype: mask.dtype } }),
    ...(lengths && { keyLengths: { shape: lengths.shape, dtype: 'u32' as const } }),
    ...(slopesOption && { alibiSlopes: layout(slopesOption) }),
    ...(sinksOption && { sinks: layout(sinksOption) }),
  });

  const { B, H, N, M, Dv, returnScores } = problem;
  const inputs = { q: data.q, k: data.k, mask: mask?.data, keyLengths: lengths?.data, alibiSlopes };
  const masked = scores(problem, inputs);
  const rowSinks = sinks && Float64Array.from({ length: B * H * N }, (_, row) => sinks[Math.floor(row / N) % H]!);
  const { weights, lse } = softmax(masked, M, rowSinks);
  const kept = dropped(weights, problem, keepOption && checkKeep(`${caller}: keep`, keepOption, problem));
  const out: HostTensor = { data: context(problem, kept, data.v), shape: [B, H, N, Dv] };
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

function checkKeep(what: string, keep: BooleanTensor, { B, H, N, M, dropout }: Problem): ArrayLike<number> {
  const { dtype, data } = checkHostMask(what, keep);
  if (dtype !== 'bool') throw new AttentionError('dtype', `${what} is ${quote(keep.data)}: need Uint8Array or booleans`);
  if (quote(keep.shape) !== quote([B, H, N, M]))
    throw new AttentionError('shape', `${what} is ${quote(keep.shape)}: need [B,H,N,M] = ${quote([B, H, N, M])}`);
  if (!dropout) throw new AttentionError('option', `${what} needs dropout with a probability above 0`);
  return data;
}

/** The weights after dropout: 0, or divided by 1 − probability. */
function dropped(weights: Float64Array, { B, H, N, M, dropout }: Problem, given: ArrayLike<number> | undefined): Float64Array {
  if (!dropout) return weights;
  const keep = given ?? dropoutKeep(dropout, B * H, N, M);
  return weights.map((weight, i) => (keep[i] ? weight / (1 - dropout.probability) : 0));
}
