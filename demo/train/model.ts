/** What the experiment's model is made with: on the GPU and on the CPU alike. */
import { drawing, encode, LENGTH, trainingBatch, VOCABULARY } from './data.ts';

export const WIDTH = 32;
export const BATCH = 16;
export const STEPS = 400;
export const LEARNING_RATE = 2e-3;
/** Positions learn more slowly, so that the model finds a place by what it is and not by where it stands. */
const POSITION_RATE = 0.3;

export const modelOptions = (seed: number) => ({ vocabulary: VOCABULARY.length, length: LENGTH, width: WIDTH, seed });
export const adamOptions = (learningRate: number) => ({ learningRate, positionRate: POSITION_RATE });

/** The batches of a seed, one after another. */
export function batches(seed: number): () => { tokens: number[]; targets: number[] } {
  const below = drawing(seed + 2); // 1 draws the held-out sentences
  return () => encode(trainingBatch(below, BATCH));
}
