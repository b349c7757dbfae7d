import { withinMemory } from '../contract/errors.ts';
import { type HostInput, type Integers, readIntegers } from '../contract/host-data.ts';
import type { HostTensor } from '../contract/tensor.ts';
import {
  checkParameters,
  checkTokens,
  checkWhole,
  initialTables,
  MATRICES,
  normalizeWordAdam,
  normalizeWordModel,
  TABLES,
  type WordAdamOptions,
  type WordModelOptions,
  type WordModelParameters,
} from '../contract/trainable-options.ts';
import { crossEntropy } from './cross_entropy.ts';
import { embedding, embeddingBackward } from './embedding.ts';
import { project, projectBackward } from './project.ts';
import { checkComputed } from './sizes.ts';
import { ReferenceParameters, TrainableReference } from './trainable.ts';

/** The results of the model for a batch of sentences. */
export interface ReferenceWordOutput {
  readonly logits: HostTensor; // [batch, length, vocabulary]
  readonly losses: HostTensor; // [batch, length], 0 where there is no target
  readonly weights: HostTensor; // [batch, heads, length, length]
}

/** A model that learns which word comes next, on the CPU, in f64: the synchronous twin of `createWordModel`, from the same seed. */
export class WordModelReference {
  private readonly options: Required<WordModelOptions>;
  private readonly layer: TrainableReference;
  private readonly tables: ReferenceParameters<(typeof TABLES)[number]>;

  /** @throws AttentionError 'option', 'shape' */
  constructor(options: WordModelOptions) {
    this.options = normalizeWordModel('WordModelReference', options);
    const { width, heads, isCausal, seed } = this.options;
    this.layer = new TrainableReference({ width, heads, isCausal, seed });
    this.tables = withinMemory('WordModelReference', () => ReferenceParameters.of(initialTables(this.options)));
  }

  /** Copies of every parameter. */
  parameters(): WordModelParameters {
    return { ...this.layer.parameters(), ...this.tables.tensors('values') };
  }

  /** Copies of the gradients of the last step of training. They are 0 before the first. */
  gradients(): WordModelParameters {
    return { ...this.layer.gradients(), ...this.tables.tensors('gradients') };
  }

  /** Sets some or all parameters, and resets Adam. @throws AttentionError 'option', 'shape', 'dtype' */
  load(parameters: Partial<Record<keyof WordModelParameters, HostInput>>): void {
    const { width } = this.options;
    const own = this.tables.tensors('values');
    const shapes = { ...mapShapes(own), ...Object.fromEntries(MATRICES.map((name) => [name, [width, width]])) };
    const checked = checkParameters('load', parameters, shapes);
    const some = (names: readonly string[]) => Object.fromEntries(checked.filter(([name]) => names.includes(name)));
    this.tables.load(some(TABLES));
    this.layer.load(some(MATRICES));
  }

  /**
   * @param tokens  batch · length integers from 0 to vocabulary − 1
   * @param targets as many integers, −1 where a word has no target. Default: no targets
   * @throws AttentionError 'shape', 'option'
   */
  forward(tokens: Integers, targets?: Integers): ReferenceWordOutput {
    const { batch, logits, losses, weights } = this.run('forward', tokens, targets);
    const { length, vocabulary } = this.options;
    return {
      logits: { data: logits, shape: [batch, length, vocabulary] },
      losses: { data: losses, shape: [batch, length] },
      weights,
    };
  }

  /**
   * One step of training: forward, backward, Adam.
   * @returns the losses' sum divided by the batch size, computed before the update
   * @throws AttentionError 'shape', 'option'
   */
  train(tokens: Integers, targets: Integers, options: WordAdamOptions = {}): number {
    const { positionRate, ...adam } = normalizeWordAdam('train', options);
    const { batch, read, y, losses, dLogits } = this.run('train', tokens, targets);
    const { width, vocabulary, length } = this.options;
    const { values, gradients } = this.tables;
    const classes = projectBackward(dLogits, y.data, values.classWeights, width, vocabulary);
    const { data: dX } = this.layer.backward({ data: classes.x, shape: y.shape });
    const embedded = embeddingBackward(dX, read, vocabulary, length);
    gradients.classWeights.set(classes.weights);
    gradients.classBias.set(classes.bias);
    gradients.tokens.set(embedded.table);
    gradients.positions.set(embedded.positions);
    this.layer.update(adam);
    const slower = { ...adam, learningRate: positionRate * adam.learningRate };
    this.tables.update((name) => (name === 'positions' ? slower : adam));
    return losses.reduce((sum, loss) => sum + loss, 0) / batch;
  }

  private run(caller: string, tokens: Integers, targets: Integers | undefined) {
    const { width, vocabulary, length } = this.options;
    const given = readIntegers(`${caller}: tokens`, tokens);
    const count = given.data.length;
    const batch = count / length;
    checkWhole(caller, `tokens.length / ${length}`, batch);
    checkComputed(`${caller}: logits`, count, vocabulary);
    checkComputed(`${caller}: x`, count, width);
    const read = checkTokens(caller, 'tokens', given, { batch, length }, vocabulary);
    const right = checkTokens(caller, 'targets', targets ?? new Array<number>(count).fill(-1), { batch, length }, vocabulary);
    const { values } = this.tables;
    const x = { data: embedding(read, values.tokens, values.positions, width), shape: [batch, length, width] };
    const { y, weights } = this.layer.forward(x);
    const logits = project(y.data, values.classWeights, values.classBias, width, vocabulary);
    const { losses, gradient } = crossEntropy(logits, right, vocabulary, batch);
    return { batch, read, y, weights, logits, losses, dLogits: gradient };
  }
}

const mapShapes = (tensors: Readonly<Record<string, HostTensor>>) =>
  Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
