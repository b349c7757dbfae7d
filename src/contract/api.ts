/** The public surface of an Attention. `Variant` is what the option `variant` can force: index.ts puts the kernels' names and constants there. */
import type { HostData } from './host-array.ts';
import type { AnyVariant, AttentionOptions, AttentionProblem } from './options.ts';
import type { DType, GpuTensor, HostTensor } from './tensor.ts';

export interface CreateAttentionOptions<Variant = AnyVariant> {
  /** The device to run on, used as it is. Default limits and no features are enough. Default: a new device. */
  device?: GPUDevice;
  /** Which adapter to request. An error together with `device`. Default: the browser's choice. */
  powerPreference?: GPUPowerPreference;
  /**
   * What `tune` returned on this adapter. Used where `algorithm` is 'auto' and no `variant` is given. A Tuning of another adapter, or of a device that
   * differs in the feature subgroups, is an error. Default none.
   */
  tuning?: Tuning<Variant>;
}

export interface AttentionOutput {
  readonly out: GpuTensor; // [B,H,N,Dv]
  readonly lse?: GpuTensor; // [B,H,N]
  readonly scores?: GpuTensor; // [B,H,N,M]
}

/** The inputs and outputs of a forward pass. */
export interface ForwardResult {
  readonly q: GpuTensor; // [B,H,N,D]
  readonly k: GpuTensor; // [B,Hk,M,D]
  readonly v: GpuTensor; // [B,Hk,M,Dv]
  readonly out: GpuTensor; // [B,H,N,Dv]
  readonly lse: GpuTensor; // [B,H,N], which `returnLse` returns
}

/** The options of the forward pass, and which gradients to compute beside those of q, k and v. */
export interface BackwardOptions<Variant = AnyVariant> extends AttentionOptions<GpuTensor, Variant> {
  /** Also compute the gradient of an additive mask. It has the mask's shape: it is summed over the axes along which the mask is broadcast. Default false. */
  maskGradient?: boolean;
}

/** Gradients as dense tensors. Each has the shape of the tensor that it is the gradient of. */
export interface AttentionGradients {
  readonly q: GpuTensor; // of q's dtype
  readonly k: GpuTensor; // of k's dtype
  readonly v: GpuTensor; // of v's dtype
  readonly mask?: GpuTensor; // f32 also where the mask is f16, because it may sum over many rows
  readonly sinks?: GpuTensor; // f32
}

/** Gradients of a linear projection, f32. */
export interface ProjectionGradients {
  readonly x: GpuTensor; // of x's shape
  readonly weights: GpuTensor; // [width, out]
  readonly bias: GpuTensor; // [out]
}

export interface TuneOptions {
  /** Called now and then with the fraction that is done, which never falls and ends with 1. If the callback throws, `tune` rejects with the error. */
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

/** Variants measured on a device, by class of problems. Plain JSON: store it, and pass it to `createAttention({ tuning })` on the same adapter. */
export interface Tuning<Variant = AnyVariant> {
  readonly adapter: string; // vendor, architecture and device, as the browser reports them; "software" and "subgroups" where they apply
  readonly fastest: Readonly<Record<string, TunedVariant<Variant>>>;
}

/**
 * The tensors that a plan runs on, with the layouts that were planned. Optional ones are needed where the problem has them.
 * lse and scores are dense, at offsets that are multiples of minStorageBufferOffsetAlignment.
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
  /** A buffer of at least `workspaceBytes` with usage STORAGE. Needed where `workspaceBytes` is above 0. */
  readonly workspace?: GPUBuffer;
}

/** The tensors that `encodeBackward` reads and writes. A tensor is dense where the plan was given no layout for it. lse and dSinks are always dense. */
export interface BackwardTensors extends Omit<AttentionTensors, 'lse' | 'scores'> {
  readonly gradient: GpuTensor; // [B,H,N,Dv]
  readonly lse: GpuTensor; // [B,H,N]
  readonly dq: GpuTensor; // [B,H,N,D]
  readonly dk: GpuTensor; // [B,Hk,M,D]
  readonly dv: GpuTensor; // [B,Hk,M,Dv]
  readonly dMask?: GpuTensor; // f32, of the mask's shape, only with `maskGradient`
  readonly dSinks?: GpuTensor; // f32 [H], only with sinks
}

/** A problem compiled for one device. It has pipelines and one uniform buffer, two with `backward`. It allocates nothing else. */
export interface AttentionPlan {
  /**
   * The kernels in the order of their dispatches, those of the backward pass last. Each has the values of its `const` lines and why they were chosen.
   * The option `variant` takes them as `{ [name]: variant }`, except kernels that only prepare a table or join splits.
   */
  readonly kernels: readonly { name: string; variant: Record<string, number | boolean | string>; reason: string }[];
  /** Bytes of the `workspace` buffer that `encode` and `encodeBackward` need, the larger of the two. 0: no workspace is needed. */
  readonly workspaceBytes: number;
  /**
   * Records the dispatches into the caller's pass. Sets the pass's pipeline and bind group 0. Allocates no GPU memory; submits, maps and copies nothing.
   * @throws AttentionError 'shape' or 'dtype' when a tensor differs from the plan's in shape, strides, offset modulo
   *   minStorageBufferOffsetAlignment, or dtype; 'option' when one is missing or unknown, was released, belongs to another Attention, lacks
   *   usage STORAGE, or when an output or the workspace shares its GPUBuffer with an input; 'device-lost' after `destroy`
   */
  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void;
  /**
   * Records the backward pass of a problem with `backward`, like `encode`. Both may use the same workspace: nothing in it has to be kept between them.
   * @throws AttentionError as `encode`; 'option' when the plan was made without `backward`
   */
  encodeBackward(pass: GPUComputePassEncoder, tensors: BackwardTensors): void;
  /** Frees the uniform buffers. A later `encode` throws 'device-lost'. */
  destroy(): void;
}

/** Attention on one device. It uploads, computes and downloads tensors, and owns the buffers that it makes. */
export interface Attention<Variant = AnyVariant> {
  readonly device: GPUDevice;
  /** Resolves when the device is lost. */
  readonly lost: Promise<GPUDeviceLostInfo>;
  /**
   * Makes a tensor with a copy of this data. The data's kind gives the element type; in brackets, the other types that `dtype` may ask for:
   *
   *     Float32Array, Float64Array               f32 (f16: rounded to nearest even)
   *     Float16Array; Uint16Array, f16's bits    f16 (f32; u32: the whole numbers)
   *     Int8Array, Uint8Array, …ClampedArray     bool, non-zero = attend (u32)
   *     Int16Array, Int32Array, Uint32Array,     u32, from 0 to 2³² − 1 (bool)
   *       BigInt64Array, BigUint64Array
   *     numbers                                  f32 (f16; u32; bool: 0 and 1)
   *     booleans; bigints                        bool; u32 (bool)
   *
   * Arrays may be nested, and the innermost ones may be typed arrays. Arrays of another realm and arrays on a SharedArrayBuffer are accepted too.
   * @param shape must have as many elements as `data`; default: the shape of the nested arrays, or [length] of a flat one
   * @param dtype default: the type without brackets
   * @throws AttentionError 'shape', 'dtype', 'option' for a number that the type cannot hold, 'limit', 'device-lost'
   */
  upload(data: HostData, shape?: readonly number[], dtype?: DType): GpuTensor;
  /**
   * Reads a tensor's elements, dense and row-major, into a Float32Array. Elements of u32 come in a Float64Array, which holds every u32.
   * @throws AttentionError 'shape', 'dtype', 'option', 'out-of-memory', 'device-lost'
   */
  download(tensor: GpuTensor): Promise<HostTensor>;
  /** Makes a tensor with undefined content. @param dtype default f32 @throws AttentionError 'shape', 'dtype', 'limit', 'device-lost' */
  empty(shape: readonly number[], dtype?: DType): GpuTensor;
  /**
   * Gives the tensors' buffers back to the pool. A tensor is identified by its buffer and layout. A copy of the object, or a proxy of it as in a reactive
   * store, stands for the same tensor. To use a released tensor, a copy or a view of it is an error. One case is not detected: a view that a caller writes
   * by hand around the buffer counts as a view of the tensor that has the buffer next.
   * @throws AttentionError 'option' for a tensor that this Attention did not make, a view, a plan's tensor, a tensor released before or given twice; 'shape', 'dtype',
   *   'device-lost'
   */
  release(...tensors: GpuTensor[]): void;
  /**
   * Scaled dot-product attention, softmax(scale · q kᵀ + mask) v; AttentionOptions has the whole formula.
   * Resolves when the commands are submitted. The outputs can be used on the same queue at once.
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
   * Compiles a problem. The caller records it into compute passes, on the caller's buffers.
   * @returns the plan: its kernels and why they were chosen, the size of the workspace, and `encode`
   * @throws AttentionError of any code
   */
  plan(problem: AttentionProblem<Variant>): Promise<AttentionPlan>;
  /**
   * Gradients of scaled dot-product attention, from the gradient of out and from the inputs and outputs of the forward pass. The weights are recomputed
   * from the scores and the log-sum-exp, tile by tile: no N×M tensor is in memory. Sums are f32, without atomics: the same call gives the same bits.
   * The gradients are 0 for a query that sees no key, and for a key that does not exist.
   * @param gradient [B,H,N,Dv], of out's dtype
   * @param forward q, k, v, out and lse of `scaledDotProductAttention` with `returnLse`
   * @param options those of the forward pass, with the same dropout; `returnScores` is an error, `returnLse` and `algorithm` have no effect,
   *   `variant` names the kernels of the backward pass
   * @returns the gradients of q, k and v; of the mask with `maskGradient`; of the sinks if there are some. The caller releases them.
   * @throws AttentionError of any code
   */
  backward(gradient: GpuTensor, forward: ForwardResult, options?: BackwardOptions<Variant>): Promise<AttentionGradients>;
  /**
   * Gradients of `project`. For x it is gradient · weightsᵀ, for the weights xᵀ · gradient, for the bias the sum of gradient's rows.
   * @param gradient [..., out], f32: the gradient of the result of `project`
   * @param x        [..., width], f32
   * @param weights  [width, out], f32
   * @returns all three, dense. The caller releases them.
   * @throws AttentionError of any code but 'unsupported'
   */
  projectBackward(gradient: GpuTensor, x: GpuTensor, weights: GpuTensor): Promise<ProjectionGradients>;
  /**
   * Attention over the union of the parts' keys, from attention over each part and its log-sum-exp. For keys that come in chunks, or lie on different
   * devices. Compute the parts without sinks: each part would count the sinks again.
   * @param parts out [B,H,N,Dv] and lse [B,H,N] as `scaledDotProductAttention` with `returnLse` gives them, all of one shape and type
   * @returns out and lse for all keys together. The caller releases them.
   * @throws AttentionError of any code; 'unsupported' for f16 on a device without the feature `shader-f16`
   */
  merge(parts: readonly MergePart[]): Promise<MergePart>;
  /**
   * Measures the variants that fit the problem on this device, which takes seconds. From then on this Attention uses the fastest one for all problems of
   * the same class. The library's own choice stays where no other variant is faster.
   * Problems of one class have the same heads, head sizes, types and options; batch sizes and lengths lie within one power of two.
   * @param problem without `algorithm` and `variant`, which `tune` finds
   * @returns all measurements of this Attention, with those given to `createAttention({ tuning })`. Plain JSON, for the caller to store.
   * @throws AttentionError 'limit', 'out-of-memory', 'device-lost', or what `plan` throws
   */
  tune(problem: AttentionProblem<Variant>, options?: TuneOptions): Promise<Tuning<Variant>>;
  /** Frees every buffer the library made, and the device only if the library made it. Later calls fail with 'device-lost'. */
  destroy(): void;
}
