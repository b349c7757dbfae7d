/** The public surface of trainable attention. */
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

/** A layer compiled for inputs of one shape. Its tensors are made with the plan: encoding allocates nothing. */
export interface TrainablePlan {
  /** [batch, length, width]: the inputs, which `encode` reads. Fill them with a kernel, `queue.writeBuffer` or `forward`. */
  readonly x: GpuTensor;
  /** [batch, length, width]: the outputs. */
  readonly y: GpuTensor;
  /** [batch, heads, length, length]: the attention weights, only with `returnWeights`. */
  readonly weights?: GpuTensor;
  /** [batch, length, width]: the gradient of y, which `encodeBackward` reads. Only with `backward`. */
  readonly dY?: GpuTensor;
  /** [batch, length, width]: the gradient of x, which `encodeBackward` writes. Only with `backward`. */
  readonly dX?: GpuTensor;
  /** The dispatches of `encode`, then those of `encodeBackward`. */
  readonly kernels: readonly PlannedKernel[];
  /** Records y from x and the layer's parameters. @throws AttentionError 'device-lost' after `destroy` */
  encode(pass: GPUComputePassEncoder): void;
  /**
   * Records dX and the parameters' gradients, from dY and the results of the last `encode`.
   * @throws AttentionError 'option' without `backward`, 'device-lost'
   */
  encodeBackward(pass: GPUComputePassEncoder): void;
  /** Uploads x, runs `encode`, downloads y. @throws AttentionError 'shape', 'dtype', 'out-of-memory', 'device-lost' */
  forward(x: HostInput): Promise<HostTensor>;
  /** Uploads dY, runs `encodeBackward`, downloads dX. @throws as `forward` and `encodeBackward` */
  backward(dY: HostInput): Promise<HostTensor>;
  /** Frees the plan's buffers; the layer stays. */
  destroy(): void;
}

/** Parameters that are trained on one device, with their gradients and Adam's moments. */
export interface Trainable<Parameters, Options> {
  /** Downloads every parameter. @throws AttentionError 'device-lost' */
  parameters(): Promise<Parameters>;
  /** Downloads the gradients of the last backward pass. They are 0 before the first. @throws AttentionError 'device-lost' */
  gradients(): Promise<Parameters>;
  /** Sets some or all parameters, and resets Adam: its moments are 0 and the next step is the first. @throws AttentionError 'option', 'shape', 'dtype' */
  load(parameters: Partial<Record<keyof Parameters, HostInput>>): void;
  /**
   * Records one step of Adam. While it records, `queue.writeBuffer` writes each dispatch's uniforms to one of 64 slots in turn. Submit before the 65th
   * dispatch is recorded, which takes the first slot again. @throws AttentionError 'option', 'device-lost'
   */
  encodeUpdate(pass: GPUComputePassEncoder, options?: Options): void;
  /** Submits one step of Adam. @throws as `encodeUpdate`; 'out-of-memory' */
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

/** The results of a plan for a batch of sentences. */
export interface WordOutput {
  readonly logits: HostTensor; // [batch, length, vocabulary]
  readonly losses: HostTensor; // [batch, length], 0 where there is no target
  readonly weights?: HostTensor; // [batch, heads, length, length], only with `returnWeights`
}

/** A word model compiled for a number of sentences. */
export interface WordPlan {
  readonly tokens: GpuTensor; // u32 [batch, length]
  readonly targets: GpuTensor; // u32 [batch, length]: the correct next word, or a number ≥ vocabulary where there is no target
  readonly logits: GpuTensor; // [batch, length, vocabulary]
  readonly losses: GpuTensor; // [batch, length]
  readonly weights?: GpuTensor; // [batch, heads, length, length]
  readonly kernels: readonly PlannedKernel[];
  /** Records logits, losses and weights, from tokens and targets. @throws AttentionError 'device-lost' after `destroy` */
  encode(pass: GPUComputePassEncoder): void;
  /**
   * Records the parameters' gradients of the losses' sum divided by `batch`, from the results of the last `encode`.
   * @throws AttentionError 'option' without `backward`, 'device-lost'
   */
  encodeBackward(pass: GPUComputePassEncoder): void;
  /**
   * Uploads sentences, runs `encode`, downloads the results.
   * @param tokens  batch · length integers from 0 to vocabulary − 1, in one list or in rows of `length`
   * @param targets as many integers, −1 where a word has no target. Default: no targets
   * @throws AttentionError 'shape', 'option', 'out-of-memory', 'device-lost'
   */
  forward(tokens: Integers, targets?: Integers): Promise<WordOutput>;
  /**
   * One step of training in one submission: forward, backward, Adam.
   * @param tokens, targets as `forward` takes them
   * @returns the losses' sum divided by `batch`, computed before the update
   * @throws AttentionError 'option', also without `backward`, 'shape', 'out-of-memory', 'device-lost'
   */
  train(tokens: Integers, targets: Integers, options?: WordAdamOptions): Promise<number>;
  /** Frees the plan's buffers; the model stays. */
  destroy(): void;
}

/**
 * The smallest model around a layer: x = token vectors + position vectors; y = layer(x); logits = y · classWeights + classBias.
 * There is no residual connection and no normalisation: the logits at a word depend only on the words that it attends to.
 */
export interface WordModel extends Trainable<WordModelParameters, WordAdamOptions> {
  readonly vocabulary: number;
  readonly length: number;
  /** @throws AttentionError 'option', 'limit', 'compile' */
  plan(options: Omit<TrainablePlanOptions, 'length'>): Promise<WordPlan>;
}
