/** The public surface of an Attention. `Variant` is what the option `variant` can force: index.ts puts the kernels' names and constants there. */
import type { HostData } from './host-array.ts';
import type { AnyVariant, AttentionOptions, AttentionProblem } from './options.ts';
import type { DType, GpuTensor, HostTensor } from './tensor.ts';

export interface CreateAttentionOptions<Variant = AnyVariant> {
  /** Used as it is: default limits and no features will do. Default: a device of its own. */
  device?: GPUDevice;
  /** Which adapter to ask for where no device is given; with one it is an error. Default: the browser's choice. */
  powerPreference?: GPUPowerPreference;
  /**
   * What `tune` gave on this adapter: used where `algorithm` is 'auto' and no `variant` is given. One of another adapter, or of a device that differs in the
   * feature subgroups, is an error.
   */
  tuning?: Tuning<Variant>;
}

export interface AttentionOutput {
  readonly out: GpuTensor; // [B,H,N,Dv]
  readonly lse?: GpuTensor; // [B,H,N]
  readonly scores?: GpuTensor; // [B,H,N,M]
}

/** What the forward pass read and wrote. */
export interface ForwardResult {
  readonly q: GpuTensor; // [B,H,N,D]
  readonly k: GpuTensor; // [B,Hk,M,D]
  readonly v: GpuTensor; // [B,Hk,M,Dv]
  readonly out: GpuTensor; // [B,H,N,Dv]
  readonly lse: GpuTensor; // [B,H,N]: of `returnLse`
}

/** The options of the forward pass, and which gradients to make beside those of q, k and v. */
export interface BackwardOptions<Variant = AnyVariant> extends AttentionOptions<GpuTensor, Variant> {
  /** Also the gradient of an additive mask, in its own shape: summed over the axes that it repeats. Default false. */
  maskGradient?: boolean;
}

/** Dense tensors, each of the shape of what it is the gradient of. */
export interface AttentionGradients {
  readonly q: GpuTensor; // of q's dtype
  readonly k: GpuTensor; // of k's dtype
  readonly v: GpuTensor; // of v's dtype
  readonly mask?: GpuTensor; // f32, also of an f16 mask: a sum over many rows
  readonly sinks?: GpuTensor; // f32
}

/** Gradients of a linear projection, f32. */
export interface ProjectionGradients {
  readonly x: GpuTensor; // of x's shape
  readonly weights: GpuTensor; // [width, out]
  readonly bias: GpuTensor; // [out]
}

export interface TuneOptions {
  /** Called now and then with the fraction that is done: it never falls, and ends with 1. What it throws ends `tune`. */
  readonly onProgress?: (fraction: number) => void;
}

/** Attention over some of the keys, as scaledDotProductAttention returns it. */
export interface MergePart {
  readonly out: GpuTensor; // [B,H,N,Dv]
  readonly lse: GpuTensor; // [B,H,N]
}

/** The fastest variant of one class of problems. */
export interface TunedVariant<Variant = AnyVariant> {
  readonly algorithm: 'explicit' | 'fused';
  readonly variant: Variant; // as the option `variant`; empty: the library's own choice
  readonly milliseconds: number; // a call, the median
}

/** Variants measured on a device, by class of problems. Plain JSON: keep it, and give it to `createAttention({ tuning })` on the same adapter. */
export interface Tuning<Variant = AnyVariant> {
  readonly adapter: string; // vendor, architecture and device, as the browser tells them; "subgroups" where the device has them
  readonly fastest: Readonly<Record<string, TunedVariant<Variant>>>;
}

/**
 * The tensors that a plan runs on: q, k, v and out as planned, the others where the problem has them. lse and scores are dense, and lie at
 * offsets that are multiples of minStorageBufferOffsetAlignment.
 */
export interface AttentionTensors {
  readonly q: GpuTensor;
  readonly k: GpuTensor;
  readonly v: GpuTensor;
  readonly out: GpuTensor;
  readonly lse?: GpuTensor; // [B,H,N]
  readonly scores?: GpuTensor; // [B,H,N,M]
  readonly mask?: GpuTensor;
  readonly keyLengths?: GpuTensor; // [B] or [B,1]
  readonly alibiSlopes?: GpuTensor; // [H]
  readonly sinks?: GpuTensor; // [H]
  /** At least `workspaceBytes`, usage STORAGE. Needed where that is above 0. */
  readonly workspace?: GPUBuffer;
}

/** What `encodeBackward` reads and writes. Dense where the plan was given no layout; lse and dSinks always. */
export interface BackwardTensors extends Omit<AttentionTensors, 'lse' | 'scores'> {
  readonly gradient: GpuTensor; // [B,H,N,Dv]
  readonly lse: GpuTensor; // [B,H,N]
  readonly dq: GpuTensor; // [B,H,N,D]
  readonly dk: GpuTensor; // [B,Hk,M,D]
  readonly dv: GpuTensor; // [B,Hk,M,Dv]
  readonly dMask?: GpuTensor; // f32, of the mask's shape: with `maskGradient`
  readonly dSinks?: GpuTensor; // f32 [H]: with sinks
}

/** Pipelines compiled and one uniform buffer written, two with `backward`; nothing else is allocated. */
export interface AttentionPlan {
  /**
   * The kernels in the order of their dispatches, those of the backward pass last, with the values of their `const` lines and why they were chosen. The option
   * `variant` takes them as `{ [name]: variant }`, but for those that only prepare a table or join splits.
   */
  readonly kernels: readonly { name: string; variant: Record<string, number | boolean | string>; reason: string }[];
  /** Bytes of the `workspace` buffer that `encode` and `encodeBackward` need, the larger of the two; 0: none. */
  readonly workspaceBytes: number;
  /**
   * Records the dispatches into the caller's pass: no GPU memory is allocated, nothing submitted, mapped or copied. Sets the pass's pipeline and bind group 0.
   * @throws AttentionError 'shape' or 'dtype' when a tensor differs from the plan's in shape, strides, offset modulo
   *   minStorageBufferOffsetAlignment, or dtype; 'option' when one is missing or unknown, was released, belongs to another Attention, lacks
   *   usage STORAGE, or when an output or the workspace shares its GPUBuffer with an input; 'device-lost' after `destroy`
   */
  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void;
  /**
   * Records the backward pass of a problem with `backward`, like `encode`. The workspace need not be what `encode` left.
   * @throws AttentionError as `encode`; 'option' when the plan was made without `backward`
   */
  encodeBackward(pass: GPUComputePassEncoder, tensors: BackwardTensors): void;
  /** Frees the uniform buffers. A later `encode` throws 'device-lost'. */
  destroy(): void;
}

/** Attention on one device: it uploads, computes and downloads, and owns the buffers it makes. */
export interface Attention<Variant = AnyVariant> {
  readonly device: GPUDevice;
  /** Resolves when the device is lost. */
  readonly lost: Promise<GPUDeviceLostInfo>;
  /**
   * A tensor with a copy of this data. What it becomes, and in brackets what else when asked:
   *
   *     Float32Array, Float64Array               f32 (f16: rounded to nearest even)
   *     Float16Array; Uint16Array, f16's bits    f16 (f32; u32: the whole numbers)
   *     Int8Array, Uint8Array, …ClampedArray     bool, non-zero = attend (u32)
   *     Int16Array, Int32Array, Uint32Array,     u32, from 0 to 2³² − 1 (bool)
   *       BigInt64Array, BigUint64Array
   *     numbers                                  f32 (f16; u32; bool: 0 and 1)
   *     booleans; bigints                        bool; u32 (bool)
   *
   * Arrays may be nested, the innermost typed arrays, of another realm, or backed by a SharedArrayBuffer.
   * @param shape as many elements as `data` has; default: that of the nested arrays, or the length
   * @throws AttentionError 'shape', 'dtype', 'option' for a number that the type cannot hold, 'limit', 'device-lost'
   */
  upload(data: HostData, shape?: readonly number[], dtype?: DType): GpuTensor;
  /**
   * A view's elements, dense and row-major: Float32Array (of u32: Float64Array, which holds every one).
   * @throws AttentionError 'shape', 'dtype', 'option', 'out-of-memory', 'device-lost'
   */
  download(tensor: GpuTensor): Promise<HostTensor>;
  /** A tensor with undefined content. Default f32. @throws AttentionError 'shape', 'dtype', 'limit', 'device-lost' */
  empty(shape: readonly number[], dtype?: DType): GpuTensor;
  /**
   * Gives the tensors' buffers back to the pool. A tensor is known by its buffer and layout: a proxy of it, as in a reactive store, and a whole copy are the
   * tensor. A released tensor cannot be used any more, nor can its copies and views: that is an error. Only a view that names the buffer by hand is taken for
   * one of the buffer's next tensor.
   * @throws AttentionError 'option' for what was not made here, a view, a plan's tensor, one released before or given twice; 'shape', 'dtype', 'device-lost'
   */
  release(...tensors: GpuTensor[]): void;
  /**
   * softmax(scale · q kᵀ + mask) v; the options say the rest. Resolves when submitted: the outputs can be used on the same queue at once.
   * @param q [B,H,N,D], f32 or f16
   * @param k [B,Hk,M,D], f32 or f16; Hk divides H, and query head h reads key head ⌊h·Hk/H⌋: 6 query heads read 2 key heads as 0,0,0,1,1,1
   * @param v [B,Hk,M,Dv], of k's dtype
   * @returns out [B,H,N,Dv], of q's dtype; lse [B,H,N] and scores [B,H,N,M] if asked for. The caller releases them.
   * @throws AttentionError of any code
   */
  scaledDotProductAttention(
    q: GpuTensor,
    k: GpuTensor,
    v: GpuTensor,
    options?: AttentionOptions<GpuTensor, Variant>,
  ): Promise<AttentionOutput>;
  /**
   * A linear projection, x · weights + bias.
   * @param x       [..., width], f32
   * @param weights [width, out], f32
   * @param bias    [out], f32; default none
   * @returns [..., out]. The caller releases it.
   * @throws AttentionError of any code but 'unsupported'
   */
  project(x: GpuTensor, weights: GpuTensor, bias?: GpuTensor): Promise<GpuTensor>;
  /**
   * Compiles a problem for callers who record into their own passes, on their own buffers.
   * @returns kernels with what was chosen and why, the workspace they need, and `encode`
   * @throws AttentionError of any code
   */
  plan(problem: AttentionProblem<Variant>): Promise<AttentionPlan>;
  /**
   * Gradients of scaled dot-product attention, from the gradient of out and what the forward pass read and wrote. The weights are made again
   * from the scores and the log-sum-exp, tile by tile: no N×M in memory. Sums are f32, without atomics: the same call gives the same bits.
   * A row that sees no key has gradients of 0, and so has a key that does not exist.
   * @param gradient [B,H,N,Dv], of out's dtype
   * @param forward q, k, v, out and lse of `scaledDotProductAttention` with `returnLse`
   * @param options those of the forward pass, with the same dropout; `returnScores` is an error, `returnLse` and `algorithm` have no effect,
   *   `variant` names the kernels of the backward pass
   * @returns q, k and v; mask if asked for; sinks if there are some. The caller releases them.
   * @throws AttentionError of any code
   */
  backward(gradient: GpuTensor, forward: ForwardResult, options?: BackwardOptions<Variant>): Promise<AttentionGradients>;
  /**
   * Gradients of `project`: of x, gradient · weightsᵀ; of the weights, xᵀ · gradient; of the bias, the sum of gradient's rows.
   * @param gradient [..., out], f32: of what `project` gave
   * @param x        [..., width], f32
   * @param weights  [width, out], f32
   * @returns all three, dense. The caller releases them.
   * @throws AttentionError of any code but 'unsupported'
   */
  projectBackward(gradient: GpuTensor, x: GpuTensor, weights: GpuTensor): Promise<ProjectionGradients>;
  /**
   * Attention over the union of the parts' keys, from attention over each part and its log-sum-exp: for keys that come in chunks, or lie on
   * different devices. Without sinks: each part would count them again.
   * @param parts out [B,H,N,Dv] and lse [B,H,N] as `scaledDotProductAttention` with `returnLse` gives them, all of one shape and type
   * @returns the same for all keys together. The caller releases it.
   * @throws AttentionError of any code; 'unsupported' for f16 on a device without the feature `shader-f16`
   */
  merge(parts: readonly MergePart[]): Promise<MergePart>;
  /**
   * Measures the variants that fit the problem on this device, which takes seconds; calls of this Attention use the fastest from then on. Where none is faster
   * than what the library chooses by itself, it is that.
   * Measurements count for problems of one class: the same heads, head sizes, types and options, lengths within one power of two.
   * @param problem without `algorithm` and `variant`, which it finds
   * @returns all that this Attention knows, what `createAttention({ tuning })` brought included: plain JSON, which the caller keeps
   * @throws AttentionError 'limit', 'out-of-memory', 'device-lost', or what `plan` throws
   */
  tune(problem: AttentionProblem<Variant>, options?: TuneOptions): Promise<Tuning<Variant>>;
  /** Frees every buffer the library made, and the device only if the library made it. Later calls fail with 'device-lost'. */
  destroy(): void;
}
