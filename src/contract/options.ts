/** The options of attention, as callers write them. What they mean is the contract; problem.ts checks them. */
import type { GpuTensor, TensorLayout } from './tensor.ts';

export const SCORES = ['raw', 'softcapped', 'masked', 'weights'] as const;
export const ALGORITHMS = ['auto', 'explicit', 'fused'] as const;

/** What `returnScores` can ask for; each is [B,H,N,M]. */
export type ScoresForm = (typeof SCORES)[number];
export type Algorithm = (typeof ALGORITHMS)[number];

/** Random dropping of weights. The same probability and seed drop the same weights in every call and on every device. */
export interface Dropout {
  /** 0 ≤ probability < 1: the share of weights that are dropped; the others are divided by 1 − probability */
  readonly probability: number;
  /** An integer from 0 to 2^53 − 1 */
  readonly seed: number;
}

/** Values of constants, by kernel and name. Which kernels and constants there are is the kernels' to say: see `variant`. */
export type AnyVariant = Readonly<Record<string, Readonly<Record<string, number | boolean | string>>>>;

/**
 * Options of scaled dot-product attention. `Tensor` is what its tensors are: GPU views here, host tensors in the reference. `Variant` has the kernels' names
 * and those of their constants where these are known.
 *
 *     s = scale · q kᵀ → softcap → + ALiBi → mask, causal, window, key lengths → row-wise stable softmax (with sinks) → dropout → · v
 *
 * A row that sees no key gives out 0 and the lowest finite f32 as log-sum-exp (with a sink: the sink), never NaN.
 */
export interface AttentionOptions<Tensor = GpuTensor, Variant = AnyVariant> {
  /** Factor of the dot products: any number that is finite as f32, 0 and negative included. Default 1/√D. (PyTorch SDPA) */
  scale?: number;
  /** Query n sees key m only when m ≤ n + causalOffset. Default false. (PyTorch SDPA, ONNX Attention) */
  isCausal?: boolean;
  /**
   * Position of query 0 among the keys, an integer, may be negative (with `alibiSlopes` from −2^28 to 2^28). Default 0: upper left. `'lower-right'` is
   * (keyLengths[b], else M) − N for each batch element. It positions causal, window and ALiBi alike; without any of them it has no effect.
   * isCausal with N = 2, M = 5:
   *
   *     0 (upper left)   1 0 0 0 0     'lower-right' (here 3)   1 1 1 1 0     −1   0 0 0 0 0
   *                      1 1 0 0 0                              1 1 1 1 1          1 0 0 0 0
   */
  causalOffset?: number | 'lower-right';
  /**
   * [left, right], integers ≥ 0 or Infinity: at most `left` keys before and `right` keys after position n + causalOffset; the key at the
   * position itself is inside. Default none. (FlashAttention, ONNX Attention-25) [1, 0] with N = M = 3:
   *
   *     1 0 0
   *     1 1 0
   *     0 1 1
   */
  window?: readonly [left: number, right: number];
  /** cap · tanh(s / cap), before any mask; 0 or absent is off, else 1e−30 to 1e30. Default 0. (ONNX Attention) */
  softcap?: number;
  /**
   * Rank 1 to 4, broadcast right-aligned to [B,H,N,M]. Boolean: 1 = attend; intersects with the other exclusions. f32 or f16: added to the
   * scores; an element ≤ −3e38 (f16: ≤ −65504), so −∞ and the frameworks' lowest value, excludes the key as `false` does.
   */
  mask?: Tensor;
  /** u32 [B] or [B,1]: keys from this index on do not exist and are never loaded; above M counts as M. (ONNX nonpad_kv_seqlen) */
  keyLengths?: Tensor;
  /** f32 [H]: adds −slope · |n + causalOffset − m| to the scores. (FlashAttention) */
  alibiSlopes?: Tensor;
  /** f32 [H]: one more logit a head in the softmax's denominator, which has no value. (gpt-oss, ONNX Runtime) */
  sinks?: Tensor;
  /**
   * Drops weights after the softmax. Philox4x32-10 with key (seed mod 2³², ⌊seed/2³²⌋) and counter (⌊m/4⌋, n, b·H+h, 0): word m mod 4 keeps
   * the weight when it is ≥ ⌊probability·2³²⌋. Default none. (FlashAttention)
   */
  dropout?: Dropout;
  /** Also return the natural log of each row's softmax denominator (sinks included, before dropout), f32 [B,H,N]. Default false. */
  returnLse?: boolean;
  /**
   * Also return [B,H,N,M]: the scores `'raw'`, `'softcapped'` or `'masked'` (with ALiBi; excluded elements are the lowest finite f32), or the
   * softmax's `'weights'` (before dropout). A key beyond `keyLengths` has the lowest finite f32 in every form of the scores.
   * (ONNX qk_matmul_output_mode)
   */
  returnScores?: ScoresForm;
  /**
   * `'fused'`: one pass over the keys, no N×M in memory. `'explicit'`: scores, softmax and context as three kernels. `'auto'` (default) takes
   * fused where it can, and says why in `plan.kernels`.
   */
  algorithm?: Algorithm;
  /**
   * Forces kernels, and values of their `const` and `alias` lines: for tests and tuning. `{ flash_decode: { SPLITS: 2 } }` takes flash_decode with two splits,
   * `{ flash_decode: {} }` leaves it its own values. `plan.kernels` names both. Default none. A kernel that the algorithm does not have, an unknown constant
   * and a value that does not fit the problem or the kernel are errors of the code 'option'; tiles too large for the device are 'limit', a kernel that
   * needs more of the device than it has is 'unsupported'.
   */
  variant?: Variant;
}

/** What a plan is for: layouts instead of tensors. */
export interface AttentionProblem<Variant = AnyVariant>
  extends Omit<AttentionOptions<GpuTensor, Variant>, 'mask' | 'keyLengths' | 'alibiSlopes' | 'sinks'> {
  /** [B,H,N,D], f32 or f16 */
  q: TensorLayout;
  /** [B,Hk,M,D], f32 or f16; Hk divides H, and query head h reads key head ⌊h·Hk/H⌋ */
  k: TensorLayout;
  /** [B,Hk,M,Dv], of k's dtype */
  v: TensorLayout;
  /** [B,H,N,Dv], of q's dtype; default dense. May be strided, such as a [B,N,H,Dv] view. */
  out?: TensorLayout;
  mask?: TensorLayout;
  /** A dense u32 [B], or its layout. */
  keyLengths?: true | TensorLayout;
  /** A dense f32 [H], or its layout. */
  alibiSlopes?: true | TensorLayout;
  /** A dense f32 [H], or its layout. */
  sinks?: true | TensorLayout;
  /**
   * Also plan the backward pass: `encodeBackward`. `encode` then returns the log-sum-exp, which the backward pass reads. The layouts of what is
   * not dense may be given in place of `true`. With `returnScores` an error.
   */
  backward?: true | BackwardLayouts;
  /** Also the gradient of an additive mask. Needs `backward`. Default false. */
  maskGradient?: boolean;
}

/** Layouts of gradients; dense where absent. */
export interface BackwardLayouts {
  /** [B,H,N,Dv], of out's dtype: the gradient that comes in */
  gradient?: TensorLayout;
  /** [B,H,N,D], of q's dtype */
  dq?: TensorLayout;
  /** [B,Hk,M,D], of k's dtype */
  dk?: TensorLayout;
  /** [B,Hk,M,Dv], of v's dtype */
  dv?: TensorLayout;
  /** f32, of the mask's shape */
  dMask?: TensorLayout;
}
