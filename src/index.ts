export { createAttention } from './attention.ts';
export type { AdamOptions } from './contract/adam-options.ts';
export type {
  Attention,
  AttentionGradients,
  AttentionOutput,
  AttentionPlan,
  AttentionTensors,
  BackwardOptions,
  BackwardTensors,
  CreateAttentionOptions,
  ForwardResult,
  MergePart,
  ProjectionGradients,
  TunedVariant,
  TuneOptions,
  Tuning,
} from './contract/api.ts';
export { AttentionError, type AttentionErrorCode } from './contract/errors.ts';
export type { FloatArray, FloatData, HalfArray, HostData, IntegerArray, Nested } from './contract/host-array.ts';
export type { HostInput, Integers } from './contract/host-data.ts';
export type { Algorithm, AttentionOptions, AttentionProblem, BackwardLayouts, Dropout, ScoresForm } from './contract/options.ts';
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
export { type SelfAttentionOptions, selfAttention } from './self-attention.ts';
export { createTrainableSelfAttention, createWordModel } from './training/trainable.ts';
