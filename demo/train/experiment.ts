/** The experiment: a word model that learns how places are, what it looks at while it does, and the controls. Page and command share it. */
import {
  type Attention,
  createWordModel,
  type HostTensor,
  type WordModel,
  type WordModelParameters,
  type WordPlan,
} from '../../src/index.ts';
import {
  type Choice,
  drawing,
  encode,
  LENGTH,
  PLACES,
  HELD_OUT_SENTENCES as SENTENCES,
  type Sentence,
  sentenceOf,
  VOCABULARY,
} from './data.ts';
import { adamOptions, BATCH, batches, LEARNING_RATE, modelOptions, WIDTH } from './model.ts';

const TESTS = encode(SENTENCES);

/** How the model does on sentences that it was not trained on. */
export interface Evaluation {
  readonly loss: number; // mean
  readonly accuracy: number; // share of sentences whose most likely next word is right
  readonly attention: number; // from the last word to the place, mean
  readonly lowestPlace: number; // the lowest mean of the sentences of one place
  readonly lowestSentence: number;
}

/** What the model makes of one sentence. */
export interface Look {
  readonly sentence: Sentence;
  readonly weights: number[][]; // [N][N]: row n is what word n looks at
  readonly words: readonly { readonly word: string; readonly probability: number }[]; // the most likely next words first
  readonly probability: number; // of the right one
}

export class Experiment {
  private readonly next: ReturnType<typeof batches>;
  private steps = 0;
  /** A model for the held-out sentences, whose parameters may be altered. */
  private copy: Promise<{ readonly model: WordModel; readonly plan: WordPlan }> | undefined;

  private constructor(
    private readonly attention: Attention,
    private readonly model: WordModel,
    private readonly training: WordPlan,
    private readonly looking: WordPlan,
    readonly seed: number,
  ) {
    this.next = batches(seed);
  }

  static async create(attention: Attention, seed: number): Promise<Experiment> {
    const model = await createWordModel(attention, modelOptions(seed));
    try {
      const training = await model.plan({ batch: BATCH, backward: true });
      const looking = await model.plan({ batch: 1, returnWeights: true });
      return new Experiment(attention, model, training, looking, seed);
    } catch (error) {
      model.destroy();
      throw error;
    }
  }

  /** Steps so far. */
  get step(): number {
    return this.steps;
  }

  /** Dispatches of a step: the plan's, and Adam's three. */
  get dispatches(): number {
    return this.training.kernels.length + 3;
  }

  /** One step of training on a fresh batch. @returns its mean loss before the step */
  async train(learningRate = LEARNING_RATE): Promise<number> {
    const { tokens, targets } = this.next();
    this.steps++;
    return this.training.train(tokens, targets, adamOptions(learningRate));
  }

  parameters(): Promise<WordModelParameters> {
    return this.model.parameters();
  }

  async look(choice: Choice): Promise<Look> {
    const sentence = sentenceOf(choice);
    const { tokens, targets } = encode([sentence]);
    const { logits, weights } = await this.looking.forward(tokens, targets);
    const N = sentence.words.length;
    const likely = probabilities(logits.data, (N - 1) * VOCABULARY.length);
    const words = likely
      .map((probability, token) => ({ word: VOCABULARY[token]!, probability }))
      .sort((a, b) => b.probability - a.probability);
    return {
      sentence,
      weights: square(weights!.data, N),
      words: words.slice(0, 3),
      probability: likely[VOCABULARY.indexOf(sentence.answer)]!,
    };
  }

  /** On the held-out sentences; `change` first alters a copy of the parameters. */
  async evaluate(change: (parameters: WordModelParameters) => Partial<WordModelParameters> = () => ({})): Promise<Evaluation> {
    const parameters = await this.model.parameters();
    this.copy ??= createWordModel(this.attention, modelOptions(0)).then(async (model) => ({
      model,
      plan: await model.plan({ batch: SENTENCES.length, returnWeights: true }),
    }));
    const { model, plan } = await this.copy;
    model.load({ ...parameters, ...change(parameters) });
    const { logits, losses, weights } = await plan.forward(TESTS.tokens, TESTS.targets);
    const last = (b: number) => (b * LENGTH + SENTENCES[b]!.words.length - 1) * VOCABULARY.length;
    const right = SENTENCES.filter(({ answer }, b) => likeliest(logits.data, last(b)) === answer);
    return {
      loss: Array.from(losses.data).reduce((sum, loss) => sum + loss, 0) / SENTENCES.length,
      accuracy: right.length / SENTENCES.length,
      ...attentionToPlaces(weights!.data),
    };
  }

  /** The positions' rows in another order: a model that finds places by what they are does not mind. */
  evaluatePermuted(): Promise<Evaluation> {
    return this.evaluate(({ positions }) => ({ positions: permuteRows(positions, this.seed) }));
  }

  /** Plain dot products of the words' vectors, without trainable weights: attention from the last word to the place, mean over the held-out sentences. */
  async withoutWeights(scale: number): Promise<number> {
    const { tokens: table, positions } = await this.model.parameters();
    const weights = await plainWeights(this.attention, vectorsOf(TESTS.tokens, table, positions), [SENTENCES.length, LENGTH], scale);
    return attentionToPlaces(weights).attention;
  }

  /** What the words of one sentence look at by plain dot products of their vectors. */
  async lookWithoutWeights(choice: Choice, scale: number): Promise<number[][]> {
    const sentence = sentenceOf(choice);
    const { tokens: table, positions } = await this.model.parameters();
    const x = vectorsOf(encode([sentence]).tokens, table, positions);
    return square(await plainWeights(this.attention, x, [1, LENGTH], scale), sentence.words.length);
  }

  destroy(): void {
    this.model.destroy();
    void this.copy?.then(
      ({ model }) => model.destroy(),
      () => {}, // what could not be made needs no end
    );
  }
}

/** E[token] + P[position] of each word. */
function vectorsOf(tokens: readonly number[], table: HostTensor, positions: HostTensor): Float32Array {
  return Float32Array.from({ length: tokens.length * WIDTH }, (_, i) => {
    const d = i % WIDTH;
    const row = Math.floor(i / WIDTH);
    return table.data[tokens[row]! * WIDTH + d]! + positions.data[(row % LENGTH) * WIDTH + d]!;
  });
}

/** softmax(scale · x xᵀ) with the causal mask: [batch, length, length]. */
async function plainWeights(attention: Attention, x: Float32Array, [batch, length]: readonly [number, number], scale: number) {
  const input = attention.upload(x, [batch, 1, length, WIDTH]);
  const { out, scores } = await attention.scaledDotProductAttention(input, input, input, {
    scale,
    isCausal: true,
    returnScores: 'weights',
  });
  const { data } = await attention.download(scores!);
  attention.release(input, out, scores!);
  return data;
}

/** From each held-out sentence's last word to its place. @param weights [sentences, 1, LENGTH, LENGTH] */
function attentionToPlaces(weights: ArrayLike<number>): Pick<Evaluation, 'attention' | 'lowestPlace' | 'lowestSentence'> {
  const own = SENTENCES.map(({ words, place }, b) => weights[(b * LENGTH + words.length - 1) * LENGTH + place]!);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const places = PLACES.map((_, place) => mean(own.filter((_, b) => SENTENCES[b]!.choice.place === place)));
  return { attention: mean(own), lowestPlace: Math.min(...places), lowestSentence: Math.min(...own) };
}

/** The softmax of a row of logits. */
function probabilities(logits: ArrayLike<number>, first: number): number[] {
  const row = VOCABULARY.map((_, token) => logits[first + token]!);
  const largest = Math.max(...row);
  const shares = row.map((logit) => Math.exp(logit - largest));
  const sum = shares.reduce((total, share) => total + share, 0);
  return shares.map((share) => share / sum);
}

function likeliest(logits: ArrayLike<number>, first: number): string {
  const row = VOCABULARY.map((_, token) => logits[first + token]!);
  return VOCABULARY[row.indexOf(Math.max(...row))]!;
}

/** The first N rows and columns of [LENGTH, LENGTH]. */
function square(weights: ArrayLike<number>, N: number): number[][] {
  return Array.from({ length: N }, (_, n) => Array.from({ length: N }, (_, m) => weights[n * LENGTH + m]!));
}

/** A matrix with its rows shuffled. Source: R. Durstenfeld, Algorithm 235, 1964. */
function permuteRows({ data, shape }: HostTensor, seed: number): HostTensor {
  const [rows, width] = shape as [number, number];
  const below = drawing(seed);
  const order = Array.from({ length: rows }, (_, row) => row);
  for (let i = rows - 1; i > 0; i--) {
    const j = below(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return { data: Float32Array.from(data, (_, i) => data[order[Math.floor(i / width)]! * width + (i % width)]!), shape };
}
