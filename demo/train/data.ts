/** Sentences of the pattern "the X sat on the Y because it was Z", where Z follows from Y alone. Words are lower case, one word is one token. */

export const ANIMALS = ['cat', 'dog', 'bird', 'fox', 'frog', 'girl', 'boy', 'mouse'] as const;

/** Places and how they are: what the model has to learn. */
export const PLACES = [
  ['mat', 'warm'],
  ['ice', 'cold'],
  ['pillow', 'soft'],
  ['rock', 'hard'],
  ['roof', 'high'],
  ['grass', 'green'],
  ['stove', 'hot'],
  ['dock', 'wet'],
  ['sand', 'dry'],
  ['table', 'flat'],
  ['drum', 'round'],
  ['box', 'empty'],
] as const;

export const OPENINGS = ['', 'today', 'one morning', 'last week'] as const;
export const ADJECTIVES = ['', 'old', 'little'] as const;
export const VERBS = ['sat', 'sat down', 'slept', 'stood still'] as const;
export const ENDINGS = ['', 'again', 'all day', 'for an hour'] as const;
export const CONJUNCTIONS = ['because', 'since'] as const;

export const LENGTH = 16; // words a sentence at most, the last one left out
const PADDING = '<pad>';

/** The words of all sentences; a word's token is its place here. */
export const VOCABULARY: readonly string[] = [
  ...new Set([
    ...[PADDING, 'the', 'on', 'it', 'was', ...ANIMALS, ...PLACES.flat()],
    ...[OPENINGS, ADJECTIVES, VERBS, ENDINGS, CONJUNCTIONS].flat().flatMap((words) => words.split(' ')),
  ]),
].filter((word) => word !== '');

const tokenOf = new Map(VOCABULARY.map((word, token) => [word, token]));

/** What a sentence is made of: places in the lists above. */
export interface Choice {
  readonly animal: number;
  readonly place: number;
  readonly isInverted: boolean; // "on the mat the cat sat" in place of "the cat sat on the mat"
  readonly opening: number;
  readonly adjective: number;
  readonly verb: number;
  readonly ending: number;
  readonly conjunction: number;
}

export interface Sentence {
  readonly words: readonly string[]; // up to "was"
  readonly answer: string; // the word that follows
  readonly place: number; // where among the words the place stands
  readonly choice: Choice;
}

/** "the cat sat on the mat because it was": a pair that training never sees. */
export const PAGE_SENTENCE: Choice = {
  ...{ animal: 0, place: 0, isInverted: false },
  ...{ opening: 0, adjective: 0, verb: 0, ending: 0, conjunction: 0 },
};

export function sentenceOf(choice: Choice): Sentence {
  const [place, answer] = PLACES[choice.place]!;
  const who = `the ${ADJECTIVES[choice.adjective]!} ${ANIMALS[choice.animal]!}`;
  const verb = VERBS[choice.verb]!;
  const where = `on the ${place}`;
  const order = choice.isInverted ? [where, who, verb] : [who, verb, where];
  const text = [OPENINGS[choice.opening]!, ...order, ENDINGS[choice.ending]!, CONJUNCTIONS[choice.conjunction]!, 'it was'].join(' ');
  const words = text.split(' ').filter((word) => word !== '');
  return { words, answer, place: words.indexOf(place), choice };
}

/** A quarter of the pairs is for testing alone, each animal and each place in some: cat and mat among them. */
export const isHeldOut = (animal: number, place: number): boolean => (animal + place) % 4 === 0;

/** Whole numbers from 0 to below a limit, the same from each seed on every machine. The generator is G. Marsaglia's xorshift of 32 bits. */
export function drawing(seed: number): (below: number) => number {
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.floor(((state >>> 0) / 2 ** 32) * below);
  };
}

/** A sentence of this pair, with the rest drawn. */
function draw(below: (limit: number) => number, animal: number, place: number): Sentence {
  return sentenceOf({
    ...{ animal, place, isInverted: below(2) === 1 },
    ...{ opening: below(OPENINGS.length), adjective: below(ADJECTIVES.length), verb: below(VERBS.length) },
    ...{ ending: below(ENDINGS.length), conjunction: below(CONJUNCTIONS.length) },
  });
}

const PAIRS = ANIMALS.flatMap((_, animal) => PLACES.map((_, place) => [animal, place] as const));
const TRAINING = PAIRS.filter(([animal, place]) => !isHeldOut(animal, place));
const HELD_OUT = PAIRS.filter(([animal, place]) => isHeldOut(animal, place));

export function trainingBatch(below: (limit: number) => number, size: number): Sentence[] {
  return Array.from({ length: size }, () => draw(below, ...TRAINING[below(TRAINING.length)]!));
}

const belowOfTests = drawing(1);
/** 16 sentences of each pair that training never sees, always the same. */
export const HELD_OUT_SENTENCES: readonly Sentence[] = HELD_OUT.flatMap(([animal, place]) =>
  Array.from({ length: 16 }, () => draw(belowOfTests, animal, place)),
);

/** What the model reads: tokens filled up at the end, and the answer as the target of the last word. */
export function encode(sentences: readonly Sentence[]): { tokens: number[]; targets: number[] } {
  const token = (word: string) => tokenOf.get(word)!;
  const fill = <T>(values: readonly T[], filler: T) => [...values, ...new Array<T>(LENGTH - values.length).fill(filler)];
  return {
    tokens: sentences.flatMap(({ words }) => fill(words.map(token), token(PADDING))),
    targets: sentences.flatMap(({ words, answer }) => fill([...words.slice(1).map(() => -1), token(answer)], -1)),
  };
}
