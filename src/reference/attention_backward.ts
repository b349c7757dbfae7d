import { AttentionError, quote, withinMemory } from '../contract/errors.ts';
import { type HostInput, readFloats } from '../contract/host-data.ts';
import { OPTIONS, type Problem } from '../contract/problem.ts';
import { pick, readOptions } from '../contract/record.ts';
import { elementCount, type HostTensor } from '../contract/tensor.ts';
import { prepare, type ReferenceOptions } from './attention.ts';
import { isExcluded, LOWEST, scores } from './scores.ts';

/** The inputs and outputs of a forward pass. */
export interface ReferenceForward {
  readonly q: HostInput; // [B,H,N,D]
  readonly k: HostInput; // [B,Hk,M,D]
  readonly v: HostInput; // [B,Hk,M,Dv]
  readonly out: HostInput; // [B,H,N,Dv]
  readonly lse: HostInput; // [B,H,N]
}

/** The options of the forward pass, and which gradients to compute beside those of q, k and v. */
export interface ReferenceBackwardOptions extends ReferenceOptions {
  /** Also compute the gradient of an additive mask. It has the mask's shape: it is summed over the axes along which the mask is broadcast. Default false. */
  maskGradient?: boolean;
}

/** Each tensor's data is a Float64Array. Its shape is that of the tensor that it is the gradient of. */
export interface ReferenceGradients {
  readonly q: HostTensor;
  readonly k: HostTensor;
  readonly v: HostTensor;
  readonly mask?: HostTensor;
  readonly sinks?: HostTensor;
}

/**
 * Gradients of scaled dot-product attention on the CPU, in f64 and in plain loops: the twin of `shaders/flash_backward_*.wgsl`.
 * It computes from out and the log-sum-exp. P are the weights, R the factors by which dropout multiplies them, dO the gradient of out:
 *
 *     delta = Σ dO ∘ out      dV = (P ∘ R)ᵀ dO      dS = P ∘ (R ∘ (dO vᵀ) − delta)      dsinks = −Σ exp(sink − lse) · delta
 *     dmask = dS              dA = dS · (1 − (s / cap)²) with a softcap      dq = scale · dA k      dk = scale · dAᵀ q
 *
 * A row that sees no key has gradients of 0.
 * @param gradient [B,H,N,Dv], of out
 * @param forward q [B,H,N,D], k [B,Hk,M,D], v [B,Hk,M,Dv], and out and lse as `scaledDotProductAttention` with `returnLse` gives them
 * @param options those of the forward pass, and `maskGradient`
 * @returns the gradients of q, k and v; of the mask with `maskGradient`; of the sinks if there are some
 * @throws AttentionError 'shape', 'dtype' or 'option', as on the GPU
 */
export function backward(gradient: HostInput, forward: ReferenceForward, options: ReferenceBackwardOptions = {}): ReferenceGradients {
  return withinMemory(caller, () => compute(gradient, forward, options));
}

const caller = 'reference.backward';

function compute(gradient: HostInput, given: ReferenceForward, options: ReferenceBackwardOptions): ReferenceGradients {
  const { maskGradient = false, ...rest } = readOptions(caller, options, [...OPTIONS, 'keep', 'maskGradient']);
  if (given === null || typeof given !== 'object')
    throw new AttentionError('option', `${caller}: forward is ${quote(given)}: need { q, k, v, out, lse }`);
  const forward = pick(`${caller}: forward`, given, ['q', 'k', 'v', 'out', 'lse']) as unknown as ReferenceForward;
  if (typeof maskGradient !== 'boolean')
    throw new AttentionError('option', `${caller}: maskGradient is ${quote(maskGradient)}: need true or false`);
  const { problem, data, sinks, factors, maskShape } = prepare(caller, forward.q, forward.k, forward.v, rest);
  const { B, H, Hk, N, M, D, Dv, mask: maskLayout, returnScores } = problem;
  const read = (name: string, given: HostInput, shape: readonly number[]) => {
    const tensor = readFloats(`${caller}: ${name}`, given);
    if (quote(tensor.shape) !== quote(shape))
      throw new AttentionError('shape', `${caller}: ${name} is ${quote(tensor.shape)}: need ${quote(shape)}`);
    return tensor.data;
  };
  if (returnScores !== undefined)
    throw new AttentionError('option', `${caller}: returnScores is ${quote(returnScores)}: scores have no gradient here`);
  if (maskGradient && maskLayout?.dtype !== 'f32')
    throw new AttentionError(
      'option',
      `${caller}: maskGradient needs an additive mask, mask is ${quote(maskLayout ? 'boolean' : undefined)}`,
    );

  const dOut = read('gradient', gradient, [B, H, N, Dv]);
  const out = read('out', forward.out, [B, H, N, Dv]);
  const lse = read('lse', forward.lse, [B, H, N]);
  const delta = rowSums(dOut, out, Dv);
  const masked = scores(problem, data);
  const weights = masked.map((s, i) => (isExcluded(s) ? 0 : Math.exp(s - lse[Math.floor(i / M)]!)));
  const R = factors();
  const dS = scoreGradient(problem, weights, R, dOut, data.v, delta);
  const kept = R ? weights.map((weight, i) => weight * R[i]!) : weights;
  const capped = problem.softcap > 0 ? scores(problem, data, 'softcapped') : undefined;
  const dA = capped ? dS.map((value, i) => (value === 0 ? 0 : value * (1 - (capped[i]! / problem.softcap) ** 2))) : dS;
  const [q, k] = queryAndKeyGradients(problem, dA, data.q, data.k);
  return {
    ...{ q: { data: q, shape: [B, H, N, D] }, k: { data: k, shape: [B, Hk, M, D] } },
    v: { data: valueGradient(problem, kept, dOut), shape: [B, Hk, M, Dv] },
    ...(maskGradient && maskShape && { mask: { data: maskSum(problem, dS, maskShape), shape: [...maskShape] } }),
    ...(sinks && { sinks: { data: sinkGradient(problem, sinks, lse, delta), shape: [H] } }),
  };
}

/** Σ a ∘ b of each row: [rows]. */
function rowSums(a: ArrayLike<number>, b: ArrayLike<number>, width: number): Float64Array {
  const sums = new Float64Array(a.length / width);
  for (let i = 0; i < a.length; i++) sums[Math.floor(i / width)]! += a[i]! * b[i]!;
  return sums;
}

/** Calls `each` for every query and key, with three indices: the query's row in [B,H,N], the key's row in [B,Hk,M], the pair's element in [B,H,N,M]. */
function forEachPair({ B, H, Hk, N, M }: Problem, each: (row: number, key: number, pair: number) => void): void {
  for (let row = 0; row < B * H * N; row++) {
    const [b, h] = [Math.floor(row / (H * N)), Math.floor(row / N) % H];
    const firstKey = (b * Hk + Math.floor((h * Hk) / H)) * M;
    for (let m = 0; m < M; m++) each(row, firstKey + m, row * M + m);
  }
}

/** P ∘ (R ∘ (dO vᵀ) − delta): [B,H,N,M]. */
function scoreGradient(
  problem: Problem,
  weights: Float64Array,
  factors: Float64Array | undefined,
  dOut: ArrayLike<number>,
  v: ArrayLike<number>,
  delta: Float64Array,
): Float64Array {
  const { Dv } = problem;
  const gradient = new Float64Array(weights.length);
  forEachPair(problem, (row, key, pair) => {
    if (weights[pair] === 0) return;
    let sum = 0;
    for (let e = 0; e < Dv; e++) sum += dOut[row * Dv + e]! * v[key * Dv + e]!;
    gradient[pair] = weights[pair]! * (sum * (factors?.[pair] ?? 1) - delta[row]!);
  });
  return gradient;
}

function valueGradient(problem: Problem, weights: Float64Array, dOut: ArrayLike<number>): Float64Array {
  const { B, Hk, M, Dv } = problem;
  const gradient = new Float64Array(B * Hk * M * Dv);
  forEachPair(problem, (row, key, pair) => {
    const weight = weights[pair]!;
    if (weight === 0) return;
    for (let e = 0; e < Dv; e++) gradient[key * Dv + e]! += weight * dOut[row * Dv + e]!;
  });
  return gradient;
}

function queryAndKeyGradients(
  problem: Problem,
  dScores: Float64Array,
  q: ArrayLike<number>,
  k: ArrayLike<number>,
): [q: Float64Array, k: Float64Array] {
  const { D, scale } = problem;
  const [dQ, dK] = [new Float64Array(q.length), new Float64Array(k.length)];
  forEachPair(problem, (row, key, pair) => {
    const factor = scale * dScores[pair]!;
    if (factor === 0) return;
    for (let d = 0; d < D; d++) {
      dQ[row * D + d]! += factor * k[key * D + d]!;
      dK[key * D + d]! += factor * q[row * D + d]!;
    }
  });
  return [dQ, dK];
}

/** The mask's gradient: dS summed over the axes along which the mask is broadcast. */
function maskSum({ B, H, N, M, mask }: Problem, dScores: Float64Array, shape: readonly number[]): Float64Array {
  const [sb, sh, sn, sm] = mask!.strides as [number, number, number, number];
  const gradient = new Float64Array(elementCount(shape));
  for (let pair = 0; pair < B * H * N * M; pair++) {
    const [b, h, n, m] = [Math.floor(pair / (H * N * M)), Math.floor(pair / (N * M)) % H, Math.floor(pair / M) % N, pair % M];
    gradient[b * sb + h * sh + n * sn + m * sm]! += dScores[pair]!;
  }
  return gradient;
}

/** −Σ exp(sink − lse) · delta over the rows of each head: [H]. */
function sinkGradient({ H, N }: Problem, sinks: ArrayLike<number>, lse: ArrayLike<number>, delta: Float64Array): Float64Array {
  const gradient = new Float64Array(H);
  for (const [row, value] of delta.entries()) {
    const h = Math.floor(row / N) % H;
    if (lse[row]! > LOWEST) gradient[h]! -= Math.exp(sinks[h]! - lse[row]!) * value;
  }
  return gradient;
}
