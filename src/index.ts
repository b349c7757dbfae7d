export type { AdamOptions } from './adam-options.ts';
export type {
  Attention,
  AttentionGradients,
  AttentionOutput,
  BackwardOptions,
  CreateAttentionOptions,
  ForwardResult,
  MergePart,
  ProjectionGradients,
  TuneOptions,
} from './api.ts';
export { createAttention } from './attention.ts';
export { AttentionError, type AttentionErrorCode } from './errors.ts';
export type { FloatArray, FloatData, HalfArray, HostData, IntegerArray, Nested } from './host-array.ts';
export type { HostInput, Integers } from './host-data.ts';
export type { Algorithm, AttentionOptions, AttentionProblem, BackwardLayouts, Dropout, ScoresForm } from './options.ts';
export type { AttentionPlan, AttentionTensors, BackwardTensors } from './plan.ts';
export { type SelfAttentionOptions, selfAttention } from './self-attention.ts';
export type { Rows, SelfAttentionResult } from './self-attention-problem.ts';
export type { DType, GpuTensor, HostTensor, TensorLayout } from './tensor.ts';
export {
  createTrainableSelfAttention,
  createWordModel,
  type PlannedKernel,
  type Trainable,
  type TrainablePlan,
  type TrainablePlanOptions,
  type TrainableSelfAttention,
  type WordModel,
  type WordOutput,
  type WordPlan,
} from './trainable.ts';
export type {
  SelfAttentionParameters,
  TrainableOptions,
  WordAdamOptions,
  WordModelOptions,
  WordModelParameters,
} from './trainable-options.ts';
export type { TunedVariant, Tuning } from './tuning.ts';
