/**
 * The contract of attention: options and shapes, checked and normalised once into one plain record that the kernels,
 * the reference and the plan read. Shapes are written in the same letters everywhere: B batch, H query heads,
 * Hk key/value heads, N queries, M keys, D head size of q and k, Dv head size of v.
 */
import { AttentionError, quote } from './errors.ts';
import { checkLayout, describeLayout, type GpuTensor, type Layout, rowMajor, type TensorLayout } from './tensor.ts';

const SCORES = ['raw', 'softcapped', 'masked', 'weights'] as const;
const ALGORITHMS = ['auto', 'explicit', 'fused'] as const;

/** What `returnScores` can ask for; each is [B,H,N,M]. */
export type ScoresForm = (typeof SCORES)[number];

/**
 * Options of scaled dot-product attention. `Tensor` is what its tensors are: GPU views here, host tensors in the reference.
 *
 *     s = scale · q kᵀ → softcap → mask, causal, key lengths → row-wise stable softmax → · v
 *
 * A row that sees no key gives out 0 and the lowest finite f32 as log-sum-exp, never NaN.
 */
export interface AttentionOptions<Tensor = GpuTensor> {
  /** Factor of the dot products: any finite number, 0 and negative included. Default 1/√D. (PyTorch SDPA) */
  scale?: number;
  /** Query n sees key m only when m ≤ n + causalOffset. Default false. (PyTorch SDPA, ONNX Attention) */
  isCausal?: boolean;
  /**
   * Position of query 0 among the keys, an integer, may be negative. Default 0: upper left. `'lower-right'` is
   * (keyLengths[b], else M) − N for each batch element. Without `isCausal` it has no effect. N = 2, M = 5:
   *
   *     0 (upper left)   1 0 0 0 0     'lower-right' (here 3)   1 1 1 1 0     −1   0 0 0 0 0
   *                      1 1 0 0 0                              1 1 1 1 1          1 0 0 0 0
   */
  causalOffset?: number | 'lower-right';
  /** cap · tanh(s / cap), before any mask; 0 or absent is off. Default 0. (ONNX Attention) */
  softcap?: number;
  /**
   * Rank 1 to 4, broadcast right-aligned to [B,H,N,M]. Boolean: 1 = attend; intersects with the other exclusions.
   * f32: added to the scores; an element ≤ −3e38 (−∞ and the frameworks' lowest value) excludes the key as `false` does.
   */
  mask?: Tensor;
  /** u32 [B]: keys from this index on do not exist and are never loaded; above M counts as M. (ONNX nonpad_kv_seqlen) */
  keyLengths?: Tensor;
  /** Also return the natural log of each row's softmax denominator, f32 [B,H,N]. Default false. */
  returnLse?: boolean;
  /**
   * Also return [B,H,N,M]: the scores `'raw'`, `'softcapped'` or `'masked'` (excluded elements are the lowest finite f32), or the
   * softmax's `'weights'`. A key beyond `keyLengths` has the lowest finite f32 in every form of the scores. (ONNX qk_matmul_output_mode)
   */
  returnScores?: ScoresForm;
  /** `'explicit'`: scores, softmax and context as three kernels. `'auto'` (default) chooses, and says why in `plan.kernels`. */
  algorithm?: (typeof ALGORITHMS)[number];
  /** Forces tile sizes: for tests and tuning. The names are the `const` lines of the shaders; an unknown one is an error. */
  variant?: Record<string, number | boolean | string>;
  /** Not supported yet: code 'unsupported'. */
  window?: readonly [number, number];
  /** Not supported yet: code 'unsupported'. */
  alibiSlopes?: Tensor;
  /** Not supported yet: code 'unsupported'. */
  sinks?: Tensor;
  /** Not supported yet: code 'unsupported'. */
  dropout?: { probability: number; seed: number };
}

/** What a plan is for: layouts instead of tensors. */
export interface AttentionProblem extends Omit<AttentionOptions, 'mask' | 'keyLengths' | 'alibiSlopes' | 'sinks'> {
  /** [B,H,N,D], f32 */
  q: TensorLayout;
  /** [B,Hk,M,D], f32; Hk divides H, and query head h reads key head ⌊h·Hk/H⌋ */
  k: TensorLayout;
  /** [B,Hk,M,Dv], f32 */
  v: TensorLayout;
  /** [B,H,N,Dv], f32; default dense. May be strided, such as a [B,N,H,Dv] view. */
  out?: TensorLayout;
  mask?: TensorLayout;
  /** A dense u32 [B], or its layout. */
  keyLengths?: true | TensorLayout;
  /** Not supported yet: code 'unsupported'. */
  alibiSlopes?: true;
  /** Not supported yet: code 'unsupported'. */
  sinks?: true;
  /** Not supported yet: code 'unsupported'. */
  backward?: true;
}

/** A checked problem with nothing left out. Plain data: its JSON is a key. */
export interface Problem {
  readonly B: number;
  readonly H: number;
  readonly Hk: number;
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly Dv: number;
  readonly q: Layout;
  readonly k: Layout;
  readonly v: Layout;
  readonly out: Layout;
  readonly mask: Layout | undefined;
  readonly keyLengths: Layout | undefined;
  readonly scale: number;
  readonly isCausal: boolean;
  readonly causalOffset: number | 'lower-right';
  readonly softcap: number; // 0: off
  readonly returnLse: boolean;
  readonly returnScores: ScoresForm | undefined;
  readonly returnWeights: boolean; // weights beside the scores: only selfAttention asks for both
  readonly algorithm: (typeof ALGORITHMS)[number];
  readonly variant: Readonly<Record<string, number | boolean | string>>;
}

const LATER = ['window', 'alibiSlopes', 'sinks', 'dropout', 'backward'] as const;
const OPTIONS = [
  ...['scale', 'isCausal', 'causalOffset', 'softcap', 'mask', 'keyLengths', 'returnLse', 'returnScores', 'algorithm', 'variant'],
  ...LATER.slice(0, -1),
];
const PROBLEM_KEYS = [...OPTIONS, 'q', 'k', 'v', 'out', 'backward'];

/** Throws unless `options` is an object whose every key is known: a misspelt option is an error, never ignored. */
export function checkKeys(caller: string, options: unknown, known: readonly string[]): void {
  if (options === null || typeof options !== 'object')
    throw new AttentionError('option', `${caller}: options are ${quote(options)}: need an object`);
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw new AttentionError('option', `${caller}: unknown option ${quote(key)}: known are ${known.join(', ')}`);
  }
}

export const checkOptionKeys = (caller: string, options: unknown): void => checkKeys(caller, options, OPTIONS);

/** Checks a problem and fills in its defaults. Every error names `caller` and quotes the value. */
export function normalize(caller: string, problem: AttentionProblem): Problem {
  checkKeys(caller, problem, PROBLEM_KEYS);
  const options = checkOptions(caller, problem);
  const q = checkTensor(caller, 'q', problem.q, 'B,H,N,D');
  const k = checkTensor(caller, 'k', problem.k, 'B,Hk,M,D');
  const v = checkTensor(caller, 'v', problem.v, 'B,Hk,M,Dv');
  const [B, H, N, D] = q.shape as [number, number, number, number];
  const [, Hk, M] = k.shape as [number, number, number, number];
  const Dv = v.shape[3]!;
  const need = (what: string, a: string, ta: Layout, b: string, tb: Layout): never => {
    throw new AttentionError('shape', `${caller}: ${a} is ${quote(ta.shape)}, ${b} is ${quote(tb.shape)}: ${what}`);
  };
  if (k.shape[0] !== B) need('B must be equal', 'k', k, 'q', q);
  if (k.shape[3] !== D) need('D must be equal', 'k', k, 'q', q);
  if (H % Hk !== 0) need(`the ${Hk} key heads must divide the ${H} query heads`, 'k', k, 'q', q);
  if (v.shape[0] !== B) need('B must be equal', 'v', v, 'q', q);
  if (v.shape[1] !== Hk) need('the key and value heads must be equal', 'v', v, 'k', k);
  if (v.shape[2] !== M) need('M must be equal', 'v', v, 'k', k);
  const outShape = [B, H, N, Dv];
  const out = checkTensor(caller, 'out', problem.out ?? { shape: outShape, dtype: 'f32' }, 'B,H,N,Dv', 'output');
  if (out.shape.some((size, i) => size !== outShape[i])) {
    throw new AttentionError('shape', `${caller}: out is ${quote(out.shape)}: need ${quote(outShape)}`);
  }
  const mask = problem.mask === undefined ? undefined : checkMask(caller, problem.mask, [B, H, N, M]);
  const keyLengths = problem.keyLengths === undefined ? undefined : checkKeyLengths(caller, problem.keyLengths, B);
  return {
    B,
    H,
    Hk,
    N,
    M,
    D,
    Dv,
    q,
    k,
    v,
    out,
    mask,
    keyLengths,
    ...options,
    returnWeights: false,
    scale: options.scale ?? 1 / Math.sqrt(D),
  };
}

function checkOptions(caller: string, options: AttentionProblem) {
  const fail = (name: string, value: unknown, need: string): never => {
    throw new AttentionError('option', `${caller}: ${name} is ${quote(value)}: need ${need}`);
  };
  for (const name of LATER) {
    if (options[name] !== undefined)
      throw new AttentionError('unsupported', `${caller}: ${name} is ${quote(options[name])}: not supported yet`);
  }
  const {
    scale,
    isCausal = false,
    causalOffset = 0,
    softcap = 0,
    returnLse = false,
    returnScores,
    algorithm = 'auto',
    variant = {},
  } = options;
  if (scale !== undefined && !Number.isFinite(scale)) fail('scale', scale, 'a finite number');
  if (typeof isCausal !== 'boolean') fail('isCausal', isCausal, 'true or false');
  if (causalOffset !== 'lower-right' && !Number.isSafeInteger(causalOffset))
    fail('causalOffset', causalOffset, "an integer or 'lower-right'");
  if (!Number.isFinite(softcap) || softcap < 0) fail('softcap', softcap, 'a finite number ≥ 0');
  if (typeof returnLse !== 'boolean') fail('returnLse', returnLse, 'true or false');
  if (returnScores !== undefined && !SCORES.includes(returnScores)) fail('returnScores', returnScores, `one of ${SCORES.join(', ')}`);
  if (!ALGORITHMS.includes(algorithm)) fail('algorithm', algorithm, `one of ${ALGORITHMS.join(', ')}`);
  if (algorithm === 'fused')
    throw new AttentionError('unsupported', `${caller}: algorithm is "fused": not supported yet, use "auto" or "explicit"`);
  if (variant === null || typeof variant !== 'object' || Array.isArray(variant))
    fail('variant', variant, 'an object of const names and values');
  return { scale, isCausal, causalOffset, softcap, returnLse, returnScores, algorithm, variant: { ...variant } };
}

/** Checks one of q, k, v, out: rank 4 and f32. */
function checkTensor(caller: string, name: string, tensor: TensorLayout, letters: string, use: 'input' | 'output' = 'input'): Layout {
  const layout = checkLayout(`${caller}: ${name}`, tensor, use);
  if (layout.shape.length !== 4)
    throw new AttentionError('shape', `${caller}: ${name} is ${quote(layout.shape)}: need rank 4, [${letters}]`);
  requireDType(`${caller}: ${name}`, layout, ['f32']);
  return layout;
}

/** Checks that a tensor has one of these element types. f16 is a type of its own kind of error: right, but not yet. */
export function requireDType(what: string, layout: Layout, allowed: readonly string[]): void {
  if (allowed.includes(layout.dtype)) return;
  if (layout.dtype === 'f16')
    throw new AttentionError('unsupported', `${what} is ${describeLayout(layout)}: f16 is not supported yet, use ${allowed.join(' or ')}`);
  throw new AttentionError('dtype', `${what} is ${describeLayout(layout)}: need ${allowed.join(' or ')}`);
}

/** Checks a mask and gives it rank 4, with stride 0 along what it repeats. */
function checkMask(caller: string, tensor: TensorLayout, shape: readonly number[]): Layout {
  const mask = checkLayout(`${caller}: mask`, tensor, 'input');
  requireDType(`${caller}: mask`, mask, ['bool', 'f32']);
  const missing = 4 - mask.shape.length;
  if (missing < 0) throw new AttentionError('shape', `${caller}: mask is ${quote(mask.shape)}: need rank 1 to 4`);
  const padded = [...new Array<number>(missing).fill(1), ...mask.shape];
  const strides = [...new Array<number>(missing).fill(0), ...mask.strides].map((stride, i) => (padded[i] === 1 ? 0 : stride));
  if (padded.some((size, i) => size !== 1 && size !== shape[i])) {
    throw new AttentionError('shape', `${caller}: mask is ${quote(mask.shape)}: does not broadcast to [B,H,N,M] = ${quote(shape)}`);
  }
  return { ...mask, shape: padded, strides };
}

function checkKeyLengths(caller: string, tensor: true | TensorLayout, B: number): Layout {
  const dense: TensorLayout = { shape: [B], dtype: 'u32', strides: rowMajor([B]) };
  const lengths = checkLayout(`${caller}: keyLengths`, tensor === true ? dense : tensor, 'input');
  if (lengths.shape.length !== 1 || lengths.shape[0] !== B) {
    throw new AttentionError('shape', `${caller}: keyLengths is ${quote(lengths.shape)}: need [B] = [${B}]`);
  }
  requireDType(`${caller}: keyLengths`, lengths, ['u32']);
  return lengths;
}
