/** The public surface of attention with weights that learn. */
import type { AdamOptions } from './adam-options.ts';
import type { HostInput, Integers } from './host-data.ts';
import type { GpuTensor, HostTensor } from './tensor.ts';
import type { SelfAttentionParameters, TrainablePlanOptions, WordAdamOptions, WordModelParameters } from './trainable-options.ts';

/** A kernel that a plan dispatches, with the values of its `const` lines and why they were chosen. */
export interface PlannedKernel {
  readonly name: string;
  readonly variant: Readonly<Record<string, number | boolean | string>>;
  readonly reason: string;
}

/** A layer compiled for inputs of one shape. Its tensors are made once: encoding allocates nothing. */
export interface TrainablePlan {
  /** [batch, length, width]: the inputs. `encode` reads them; write to them by a kernel of your own, `queue.writeBuffer` or `forward`. */
  readonly x: GpuTensor;
  /** [batch, length, width]: the outputs. */
  readonly y: GpuTensor;
  /** [batch, heads, length, length]: with `returnWeights`. */
  readonly weights?: GpuTensor;
  /** [batch, length, width]: the gradient of y, which `encodeBackward` reads: with `backward`. */
  readonly dY?: GpuTensor;
  /** [batch, length, width]: the gradient of x, which it writes. */
  readonly dX?: GpuTensor;
  /** The dispatches of `encode`, then those of `encodeBackward`. */
  readonly kernels: readonly PlannedKernel[];
  /** Records y from x and the layer's parameters. @throws AttentionError 'device-lost' after `destroy` */
  encode(pass: GPUComputePassEncoder): void;
  /** Records dX and the parameters' gradients, from dY and what the last `encode` left. @throws AttentionError 'option' without `backward`, 'device-lost' */
  encodeBackward(pass: GPUComputePassEncoder): void;
  /** Uploads x, runs `encode`, downloads y. @throws AttentionError 'shape', 'dtype', 'out-of-memory', 'device-lost' */
  forward(x: HostInput): Promise<HostTensor>;
  /** Uploads dY, runs `encodeBackward`, downloads dX. @throws as `forward` and `encodeBackward` */
  backward(dY: HostInput): Promise<HostTensor>;
  /** Frees the plan's buffers; the layer stays. */
  destroy(): void;
}

/** What is trained on one device: parameters, their gradients and Adam's memory of them. */
export interface Trainable<Parameters, Options> {
  /** Downloads every parameter. @throws AttentionError 'device-lost' */
  parameters(): Promise<Parameters>;
  /** Of the last backward pass; 0 before the first. @throws AttentionError 'device-lost' */
  gradients(): Promise<Parameters>;
  /** Sets some or all parameters; Adam begins anew. @throws AttentionError 'option', 'shape', 'dtype' */
  load(parameters: Partial<Record<keyof Parameters, HostInput>>): void;
  /**
   * Records one step of Adam. Its numbers are written with `queue.writeBuffer` when it is recorded, to one of 64 places in turn: submit before the
   * 65th dispatch. @throws AttentionError 'option', 'device-lost'
   */
  encodeUpdate(pass: GPUComputePassEncoder, options?: Options): void;
  /** One step of Adam, submitted. @throws as `encodeUpdate`; 'out-of-memory' */
  update(options?: Options): Promise<void>;
  /** Frees the parameters and every plan. */
  destroy(): void;
}

/** y = concat(heads of softmax(scale · q kᵀ) v) · outputWeights, with q, k, v = x · queryWeights, x · keyWeights, x · valueWeights. */
export interface TrainableSelfAttention extends Trainable<SelfAttentionParameters, AdamOptions> {
  readonly width: number;
  readonly heads: number;
  readonly isCausal: boolean;
  /** @throws AttentionError 'option', 'limit', 'compile' */
  plan(options: TrainablePlanOptions): Promise<TrainablePlan>;
}

/** What a plan computes of a batch of sentences. */
export interface WordOutput {
  readonly logits: HostTensor; // [batch, length, vocabulary]
  readonly losses: HostTensor; // [batch, length], 0 where there is no target
  readonly weights?: HostTensor; // [batch, heads, length, length]: with `returnWeights`
}

/** A word model compiled for a number of sentences. */
export interface WordPlan {
  readonly tokens: GpuTensor; // u32 [batch, length]
  readonly targets: GpuTensor; // u32 [batch, length]: the right word, or one beyond the vocabulary where there is none
  readonly logits: GpuTensor; // [batch, length, vocabulary]
  readonly losses: GpuTensor; // [batch, length]
  readonly weights?: GpuTensor; // [batch, heads, length, length]
  readonly kernels: readonly PlannedKernel[];
  /** Records logits, losses and weights, from tokens and targets. @throws AttentionError 'device-lost' after `destroy` */
  encode(pass: GPUComputePassEncoder): void;
  /** Records the gradients of the losses' sum divided by `batch`, of what the last `encode` left. @throws AttentionError 'option' without `backward`, 'device-lost' */
  encodeBackward(pass: GPUComputePassEncoder): void;
  /**
   * Uploads sentences, runs `encode`, downloads what came out.
   * @param tokens  batch · length integers from 0 to below `vocabulary`, in one list or in rows of `length`
   * @param targets as many, −1 where there is none. Default: none at all
   * @throws AttentionError 'shape', 'option', 'out-of-memory', 'device-lost'
   */
  forward(tokens: Integers, targets?: Integers): Promise<WordOutput>;
  /**
   * One step of training in one submission: forward, backward, Adam.
   * @param tokens, targets as `forward` takes them
   * @returns the losses' sum divided by `batch`, before the step
   * @throws AttentionError 'option', also without `backward`, 'shape', 'out-of-memory', 'device-lost'
   */
  train(tokens: Integers, targets: Integers, options?: WordAdamOptions): Promise<number>;
  /** Frees the plan's buffers; the model stays. */
  destroy(): void;
}

/**
 * The smallest model around a layer: x = tokens' vectors + positions' vectors; y = the layer's; logits = y · classWeights + classBias.
 * No residual and no normalisation: what the model says of a word comes from what that word looks at.
 */
export interface WordModel extends Trainable<WordModelParameters, WordAdamOptions> {
  readonly vocabulary: number;
  readonly length: number;
  /** @throws AttentionError 'option', 'limit', 'compile' */
  plan(options: Omit<TrainablePlanOptions, 'length'>): Promise<WordPlan>;
}
