/** Words as vectors: those of the book's example, any other word a small deterministic one. */

/** Embedding vectors of the book's sentence. Source: S. Raschka, Build a Large Language Model (From Scratch), chapter 3. */
const VECTORS: Readonly<Record<string, readonly [number, number, number]>> = {
  your: [0.43, 0.15, 0.89],
  journey: [0.55, 0.87, 0.66],
  starts: [0.57, 0.85, 0.64],
  with: [0.22, 0.58, 0.33],
  one: [0.77, 0.25, 0.1],
  step: [0.05, 0.8, 0.55],
};

export const EXAMPLE = 'Your journey starts with one step';

export interface Word {
  readonly text: string;
  readonly vector: readonly number[];
  /** The vector was made from the word's letters, and means nothing. */
  readonly isInvented: boolean;
}

/** A sentence's words: runs of letters, digits, apostrophes and hyphens. */
export function wordsOf(sentence: string): Word[] {
  const texts = sentence.normalize('NFC').match(/[\p{L}\p{M}\p{N}'’-]+/gu) ?? [];
  return texts.map((text) => {
    const word = text.toLowerCase();
    const known = Object.hasOwn(VECTORS, word) ? VECTORS[word] : undefined;
    return { text, vector: known ?? invent(word), isInvented: known === undefined };
  });
}

/** The word that asks: "journey" where there is one, as in the book; else the second word, or the only one. */
export function queryOf(words: readonly Word[]): number {
  const journey = words.findIndex(({ text }) => text.toLowerCase() === 'journey');
  return journey >= 0 ? journey : Math.min(1, words.length - 1);
}

/** Three numbers in [0, 1) with two decimals, from a hash of the word (FNV-1a, 32 bits). */
function invent(word: string): number[] {
  return [1, 2, 3].map((seed) => {
    let hash = 0x811c9dc5 ^ seed;
    for (const char of word) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193) >>> 0;
    return (((hash >>> 16) ^ (hash & 0xffff)) % 100) / 100;
  });
}
