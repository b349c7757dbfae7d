/** What `npm start` prints: simplified self-attention on a sentence, computed in the browser that runs this. */
import { greatestDifference } from './differences.ts';
import { gpuEngine, type Value } from './engine.ts';
import { queryOf, type Word, wordsOf } from './words.ts';

export interface Example {
  readonly adapter: string;
  readonly words: readonly Word[];
  readonly query: number; // the word that asks
  readonly scores: number[][]; // [N][N]
  readonly weights: number[][]; // [N][N]
  readonly context: number[][]; // [N][3]
  /** The greatest differences from the CPU reference. */
  readonly differences: { readonly scores: number; readonly weights: number; readonly context: number };
}

/** @throws Error when the sentence has no word; AttentionError when the GPU cannot be used */
export async function runSentence(sentence: string): Promise<Example> {
  const words = wordsOf(sentence);
  if (words.length === 0) throw new Error(`The sentence ${JSON.stringify(sentence)} has no word.`);
  const engine = await gpuEngine(() => {});
  try {
    const { scores, weights, context } = await engine.attend(words.map(({ vector }) => vector));
    const numbers = (rows: readonly (readonly Value[])[]) => rows.map((row) => row.map(({ value }) => value));
    const difference = (rows: readonly (readonly Value[])[]) => {
      const values = rows.flat();
      return greatestDifference(
        values.map(({ value }) => value),
        values.map(({ cpu }) => cpu),
      ).error;
    };
    return {
      adapter: engine.name,
      words,
      query: queryOf(words),
      scores: numbers(scores[0]!),
      weights: numbers(weights[0]!),
      context: numbers(context),
      differences: { scores: difference(scores[0]!), weights: difference(weights[0]!), context: difference(context) },
    };
  } finally {
    engine.attention?.destroy();
  }
}
