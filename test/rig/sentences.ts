/** A small word model, and sentences for it. */
import type { WordModelOptions } from '../../src/index.ts';
import { random } from './random.ts';

export const WORDS: WordModelOptions = { vocabulary: 11, length: 7, width: 8, seed: 3 };
export const BATCH = 4;

/** Sentences of random tokens, one target each at a random position. */
export function sentences(seed: number, { vocabulary, length } = WORDS): { tokens: number[]; targets: number[] } {
  const next = random(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  const tokens = Array.from({ length: BATCH * length }, () => below(vocabulary));
  const targets = tokens.map(() => -1);
  for (let b = 0; b < BATCH; b++) targets[b * length + below(length)] = below(vocabulary);
  return { tokens, targets };
}
