/** Makes a trainable layer or model. The code that runs them is loaded at the first call. */
import type { Attention } from '../contract/api.ts';
import { readOptions } from '../contract/record.ts';
import { LAYER_KEYS, type TrainableOptions, WORD_KEYS, type WordModelOptions } from '../contract/trainable-options.ts';
import type { TrainableSelfAttention, WordModel } from '../contract/training.ts';

/**
 * Multi-head self-attention with trainable projections. Forward pass, backward pass and the optimizer Adam run on the GPU, in f32.
 * Nothing uses atomics: on one device the same steps from the same seed give the same bits.
 * @throws AttentionError 'option', 'shape', 'device-lost', 'limit', 'compile'
 */
export async function createTrainableSelfAttention(attention: Attention, options: TrainableOptions): Promise<TrainableSelfAttention> {
  const given = readOptions('createTrainableSelfAttention', options, LAYER_KEYS);
  const { makeLayer } = await import('./layer.ts');
  return makeLayer('createTrainableSelfAttention', attention, given);
}

/**
 * A model that learns which word comes next, around one layer of trainable self-attention.
 * @throws AttentionError 'option', 'shape', 'device-lost', 'limit', 'compile'
 */
export async function createWordModel(attention: Attention, options: WordModelOptions): Promise<WordModel> {
  const given = readOptions('createWordModel', options, WORD_KEYS);
  const { makeWordModel } = await import('./word-model.ts');
  return makeWordModel('createWordModel', attention, given);
}
