/** The options of attention, as callers write them. The docstrings here define what an option means; problem.ts checks it. */
import type { GpuTensor, TensorLayout } from './tensor.ts';

export const SCORES = ['raw', 'softcapped', 'masked', 'weights'] as const;
export const ALGORITHMS = ['auto', 'explicit', 'fused'] as const;

/** The tensors that `returnScores` can ask for. Each is f32 [B,H,N,M]. */
export type ScoresForm = (typeof SCORES)[number];
export type Algorithm = (typeof ALGORITHMS)[number];

/** Dropout of attention weights. The same probability and seed drop the same weights in every call and on every device. */
export interface Dropout {
  /** The probability that a weight is dropped, from 0 to below 1. Weights that are kept are divided by 1 − probability. */
  readonly probability: number;
  /** An integer from 0 to 2^53 − 1 */
  readonly seed: number;
}

/** Values of constants, by kernel and name. Which kernels and constants there are is the kernels' to say: see `variant`. */
export type AnyVariant = Readonly<Record<string, Readonly<Record<string, number | boolean | string>>>>;

/**
 * Options of scaled dot-product attention. `Tensor` is the type of its tensors: GpuTensor here, host tensors in the reference. `Variant` has the names of
 * the kernels and of their constants where these are known.
 *
 *     s = scale · q kᵀ → softcap → + ALiBi → mask, causal, window, key lengths → row-wise stable softmax (with sinks) → dropout → · v
 *
 * Where a query sees no key, its row of out is 0, never NaN. Its log-sum-exp is the lowest finite f32, or the sink where there is one.
 */
export interface AttentionOptions<Tensor = GpuTensor, Variant = AnyVariant> {
  /** Factor of the dot products: any number that is finite as f32, 0 and negative included. Default 1/√D. (PyTorch SDPA) */
  scale?: number;
  /** Query n sees key m only when m ≤ n + causalOffset. Default false. (PyTorch SDPA, ONNX Attention) */
  isCausal?: boolean;
  /**
   * Position of query 0 among the keys: an integer, which may be negative. With `alibiSlopes` from −2^28 to 2^28. Default 0: upper left.
   * `'lower-right'` is (keyLengths[b], else M) − N for batch element b.
   * `isCausal`, `window` and `alibiSlopes` count from this position. Without any of them it has no effect.
   * isCausal with N = 2, M = 5:
   *
   *     0 (upper left)   1 0 0 0 0     'lower-right' (here 3)   1 1 1 1 0     −1   0 0 0 0 0
   *                      1 1 0 0 0                              1 1 1 1 1          1 0 0 0 0
   */
  causalOffset?: number | 'lower-right';
  /**
   * [left, right], integers ≥ 0 or Infinity. Query n sees the key at position n + causalOffset, and at most `left` keys before it and `right` keys after
   * it. Default none. (FlashAttention, ONNX Attention-25)
   * [1, 0] with N = M = 3:
   *
   *     1 0 0
   *     1 1 0
   *     0 1 1
   */
  window?: readonly [left: number, right: number];
  /** Replaces scores by cap · tanh(s / cap), before any mask. A number from 1e−30 to 1e30, or 0 for none. Default 0. (ONNX Attention) */
  softcap?: number;
  /**
   * Rank 1 to 4, broadcast right-aligned to [B,H,N,M]. Default none.
   * Boolean: 1 = attend. A query sees a key only where the mask, causal mask, window and key lengths all allow it.
   * f32 or f16: added to the scores. An element ≤ −3e38 (f16: ≤ −65504) excludes the key as `false` does. So do −∞ and the frameworks' lowest values.
   */
  mask?: Tensor;
  /** u32 [B] or [B,1]: how many keys exist. Keys from this index on are never loaded. A length above M counts as M. (ONNX nonpad_kv_seqlen) */
  keyLengths?: Tensor;
  /** f32 [H]: adds −slope · |n + causalOffset − m| to the scores. (FlashAttention) */
  alibiSlopes?: Tensor;
  /** f32 [H]: for each head one more logit in the softmax's denominator. It has no value vector. (gpt-oss, ONNX Runtime) */
  sinks?: Tensor;
  /**
   * Drops weights after the softmax. Random words are from Philox4x32-10 with key (seed mod 2³², ⌊seed/2³²⌋) and counter (⌊m/4⌋, n, b·H+h, 0). The weight
   * of query n and key m is kept where word m mod 4 is ≥ ⌊probability·2³²⌋. Default none. (FlashAttention)
   */
  dropout?: Dropout;
  /** Also return the log-sum-exp, f32 [B,H,N]: the natural log of each row's softmax denominator, with sinks and before dropout. Default false. */
  returnLse?: boolean;
  /**
   * Also return f32 [B,H,N,M]: the scores `'raw'`, `'softcapped'` or `'masked'`, or the softmax's `'weights'` before dropout. Default none.
   * `'masked'` scores include ALiBi, and excluded elements are the lowest finite f32. A key beyond `keyLengths` has the lowest finite f32 in every form
   * of the scores. (ONNX qk_matmul_output_mode)
   */
  returnScores?: ScoresForm;
  /**
   * `'fused'`: one pass over the keys, without an N×M tensor in memory. `'explicit'`: scores, softmax and context as three kernels. `'auto'`: fused where it
   * can compute the problem, else explicit; `plan.kernels` says why. Default `'auto'`.
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

/** The problem that `plan` compiles: AttentionOptions with layouts in place of tensors. */
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
   * Also plan the backward pass, for `encodeBackward`. `encode` then also writes the log-sum-exp, which the backward pass reads. In place of `true`, the
   * layouts of gradients that are not dense may be given. An error together with `returnScores`. Default: no backward pass.
   */
  backward?: true | BackwardLayouts;
  /** Also compute the gradient of an additive mask. Needs `backward`. Default false. */
  maskGradient?: boolean;
}

/** Layouts of gradients; dense where absent. */
export interface BackwardLayouts {
  /** [B,H,N,Dv], of out's dtype: the gradient of out, an input */
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
