export type { AdamOptions } from '../contract/adam-options.ts';
export { AttentionError, type AttentionErrorCode } from '../contract/errors.ts';
export type { BooleanTensor, HostInput, Integers } from '../contract/host-data.ts';
export type { Dropout, ScoresForm } from '../contract/options.ts';
export type { Rows, SelfAttentionOptions, SelfAttentionResult } from '../contract/self-attention-problem.ts';
export type { HostTensor } from '../contract/tensor.ts';
export type {
  SelfAttentionParameters,
  TrainableOptions,
  WordAdamOptions,
  WordModelOptions,
  WordModelParameters,
} from '../contract/trainable-options.ts';
export { type ReferenceOptions, type ReferenceOutput, scaledDotProductAttention } from './attention.ts';
export {
  backward,
  type ReferenceBackwardOptions,
  type ReferenceForward,
  type ReferenceGradients,
} from './attention_backward.ts';
export { merge } from './flash_merge.ts';
export { selfAttention } from './self-attention.ts';
export { naiveSoftmax, normalizeBySum, type Precision, softmax } from './softmax.ts';
export { TrainableReference } from './trainable.ts';
export { type ReferenceWordOutput, WordModelReference } from './word-model.ts';
