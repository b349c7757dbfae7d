import { AttentionError, quote, withinMemory } from '../contract/errors.ts';
import type { Nested } from '../contract/host-array.ts';
import { type BooleanTensor, type HostInput, type Integers, readFloats, readIntegers, readMask } from '../contract/host-data.ts';
import type { AttentionOptions } from '../contract/options.ts';
import { normalize, OPTIONS, type Problem } from '../contract/problem.ts';
import { readOptions } from '../contract/record.ts';
import type { HostTensor } from '../contract/tensor.ts';
import { context } from './context.ts';
import { dropoutKeep } from './dropout.ts';
import { LOWEST, type ScoresInputs, scores } from './scores.ts';
import { checkComputed } from './sizes.ts';
import { softmax } from './softmax.ts';

/** The options of `scaledDotProductAttention`, with host tensors. */
export interface ReferenceOptions extends Omit<AttentionOptions<HostInput>, 'mask' | 'keyLengths' | 'variant'> {
  /** Rank 1 to 4, broadcast to [B,H,N,M]. Booleans or bytes: true = attend. Numbers: added to the scores. */
  mask?: HostInput | Nested<boolean> | BooleanTensor;
  /** [B] or [B,1], or one number where B is 1: how many keys exist. */
  keyLengths?: Integers | number | bigint;
  /** [B,H,N,M]: which weights `dropout` keeps. Default: those that its seed keeps. */
  keep?: BooleanTensor | Nested<boolean>;
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
 * @param options as on the GPU; `algorithm` has no effect
 * @throws AttentionError 'shape', 'dtype', 'option' or 'limit', as on the GPU
 */
export function scaledDotProductAttention(q: HostInput, k: HostInput, v: HostInput, options: ReferenceOptions = {}): ReferenceOutput {
  const caller = 'reference.scaledDotProductAttention';
  return withinMemory(caller, () => compute(prepare(caller, q, k, v, options)));
}

function compute({ problem, data, ...rest }: Prepared): ReferenceOutput {
  const { B, H, N, M, Dv, returnScores } = problem;
  const masked = scores(problem, data);
  const rowSinks = rest.sinks && Float64Array.from({ length: B * H * N }, (_, row) => rest.sinks![Math.floor(row / N) % H]!);
  // Without keys the log-sum-exp of a row is that of a row whose one key is excluded.
  const noKeys = () => ({ weights: masked, lse: softmax(new Float64Array(B * H * N).fill(LOWEST), 1, rowSinks).lse });
  const { weights, lse } = M > 0 ? softmax(masked, M, rowSinks) : noKeys();
  const factors = rest.factors();
  const kept = factors ? weights.map((weight, i) => weight * factors[i]!) : weights;
  const out: HostTensor = { data: context(problem, kept, data.v), shape: [B, H, N, Dv] };
  const form = () => {
    if (returnScores === 'weights') return weights;
    return returnScores === 'masked' ? masked : scores(problem, data, returnScores);
  };
  return {
    out,
    ...(problem.returnLse ? { lse: { data: lse, shape: [B, H, N] } } : {}),
    ...(returnScores ? { scores: { data: form(), shape: [B, H, N, M] } } : {}),
  };
}

/** A checked problem and the data of its tensors. */
export interface Prepared {
  readonly problem: Problem;
  readonly data: ScoresInputs & { readonly v: ArrayLike<number> };
  readonly maskShape: readonly number[] | undefined; // as the caller gave it
  readonly sinks: ArrayLike<number> | undefined; // [H]
  /** [B,H,N,M]: the factors by which dropout multiplies the weights, 0 or 1 / (1 − probability). undefined without dropout. */
  factors(): Float64Array | undefined;
}

/** Checks a problem of host tensors. @throws AttentionError 'shape', 'dtype', 'option' or 'limit', which names `caller` */
export function prepare(caller: string, q: HostInput, k: HostInput, v: HostInput, options: ReferenceOptions): Prepared {
  const read = readOptions(caller, options, [...OPTIONS, 'keep']);
  const { mask: maskOption, keyLengths: lengthsOption, alibiSlopes: slopesOption, sinks: sinksOption, keep: keepOption, ...rest } = read;
  const { variant }: AttentionOptions = rest;
  if (variant !== undefined)
    throw new AttentionError('option', `${caller}: variant is ${quote(variant)}: it forces GPU tiles, the reference has none`);
  const isScalar = typeof lengthsOption === 'number' || typeof lengthsOption === 'bigint';
  const mask = given(maskOption, (tensor) => readMask(`${caller}: mask`, tensor));
  const lengths = given(lengthsOption, (lengths) => readIntegers(`${caller}: keyLengths`, isScalar ? [lengths] : lengths));
  const tensors = { q: readFloats(`${caller}: q`, q), k: readFloats(`${caller}: k`, k), v: readFloats(`${caller}: v`, v) };
  const alibiSlopes = given(slopesOption, (tensor) => readFloats(`${caller}: alibiSlopes`, tensor));
  const sinks = given(sinksOption, (tensor) => readFloats(`${caller}: sinks`, tensor));
  const layout = ({ shape }: HostTensor) => ({ shape, dtype: 'f32' as const });
  const problem = normalize(caller, {
    ...rest,
    ...{ q: layout(tensors.q), k: layout(tensors.k), v: layout(tensors.v) },
    ...(mask && { mask: { shape: mask.shape, dtype: mask.dtype } }),
    ...(lengths && { keyLengths: { shape: lengths.shape, dtype: 'u32' as const } }),
    ...(alibiSlopes && { alibiSlopes: layout(alibiSlopes) }),
    ...(sinks && { sinks: layout(sinks) }),
  });
  const { B, H, N, M, Dv } = problem;
  checkComputed(`${caller}: scores`, B, H, N, M);
  checkComputed(`${caller}: out`, B, H, N, Dv);
  const keep = given(keepOption, (tensor) => checkKeep(`${caller}: keep`, tensor, problem));
  return {
    problem,
    maskShape: mask?.shape,
    data: {
      ...{ q: tensors.q.data, k: tensors.k.data, v: tensors.v.data },
      ...{ mask: mask?.data, keyLengths: lengths?.data, alibiSlopes: alibiSlopes?.data },
    },
    sinks: sinks?.data,
    factors: () => dropoutFactors(problem, keep),
  };
}

const given = <T, R>(value: T | undefined, check: (value: T) => R): R | undefined => (value === undefined ? undefined : check(value));

function checkKeep(what: string, keep: BooleanTensor | Nested<boolean>, { B, H, N, M, dropout }: Problem): ArrayLike<number> {
  const { dtype, data, shape } = readMask(what, keep);
  if (dtype !== 'bool') throw new AttentionError('dtype', `${what} is ${quote(data)}: need Uint8Array or booleans`);
  if (quote(shape) !== quote([B, H, N, M]))
    throw new AttentionError('shape', `${what} is ${quote(shape)}: need [B,H,N,M] = ${quote([B, H, N, M])}`);
  if (!dropout) throw new AttentionError('option', `${what} is given, dropout is ${quote(dropout)}: need a probability above 0`);
  return data;
}

function dropoutFactors({ B, H, N, M, dropout }: Problem, given: ArrayLike<number> | undefined): Float64Array | undefined {
  if (!dropout) return undefined;
  return Float64Array.from(given ?? dropoutKeep(dropout, B * H, N, M), (kept) => (kept ? 1 / (1 - dropout.probability) : 0));
}
