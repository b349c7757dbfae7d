/** What is public. The option `variant` has the kernels' names and constants in its type: no room below the kernels knows them. */
import type * as api from './contract/api.ts';
import type * as options from './contract/options.ts';
import type { GpuTensor } from './contract/tensor.ts';
import type { KernelVariants } from './kernels/variants.ts';

export type Attention = api.Attention<KernelVariants>;
export type AttentionOptions<Tensor = GpuTensor> = options.AttentionOptions<Tensor, KernelVariants>;
export type AttentionProblem = options.AttentionProblem<KernelVariants>;
export type BackwardOptions = api.BackwardOptions<KernelVariants>;
export type CreateAttentionOptions = api.CreateAttentionOptions<KernelVariants>;
export type TunedVariant = api.TunedVariant<KernelVariants>;
export type Tuning = api.Tuning<KernelVariants>;

export { createAttention } from './attention.ts';
export type { AdamOptions } from './contract/adam-options.ts';
export type {
  AttentionGradients,
  AttentionOutput,
  AttentionPlan,
  AttentionTensors,
  BackwardTensors,
  ForwardResult,
  MergePart,
  ProjectionGradients,
  TuneOptions,
} from './contract/api.ts';
export { AttentionError, type AttentionErrorCode } from './contract/errors.ts';
export type { FloatArray, FloatData, HalfArray, HostData, IntegerArray, Nested } from './contract/host-array.ts';
export type { HostInput, Integers } from './contract/host-data.ts';
export type { Algorithm, BackwardLayouts, Dropout, ScoresForm } from './contract/options.ts';
export type { Rows, SelfAttentionResult } from './contract/self-attention-problem.ts';
export type { DType, GpuTensor, HostTensor, TensorLayout } from './contract/tensor.ts';
export type {
  SelfAttentionParameters,
  TrainableOptions,
  TrainablePlanOptions,
  WordAdamOptions,
  WordModelOptions,
  WordModelParameters,
} from './contract/trainable-options.ts';
export type {
  PlannedKernel,
  Trainable,
  TrainablePlan,
  TrainableSelfAttention,
  WordModel,
  WordOutput,
  WordPlan,
} from './contract/training.ts';
export type { KernelVariants } from './kernels/variants.ts';
export { type SelfAttentionOptions, selfAttention } from './self-attention.ts';
export { createTrainableSelfAttention, createWordModel } from './training/trainable.ts';
