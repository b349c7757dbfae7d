export type { Attention, AttentionOutput, CreateAttentionOptions, Tuning } from './api.ts';
export { createAttention } from './attention.ts';
export { AttentionError, type AttentionErrorCode } from './errors.ts';
export type { HostData } from './host-data.ts';
export type { Algorithm, AttentionOptions, AttentionProblem, Dropout, ScoresForm } from './options.ts';
export type { AttentionPlan, AttentionTensors } from './plan.ts';
export { type SelfAttentionOptions, selfAttention } from './self-attention.ts';
export type { Rows, SelfAttentionResult } from './self-attention-problem.ts';
export type { DType, GpuTensor, HostTensor, TensorLayout } from './tensor.ts';
