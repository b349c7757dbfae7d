/** The contract of trainable attention, for the GPU and the reference: checks of the options, and the initial parameters that a seed gives. */
import { ADAM_KEYS, type AdamOptions, normalizeAdam } from './adam-options.ts';
import { AttentionError, quote } from './errors.ts';
import { type HostInput, type Integers, readFloats, readIntegers } from './host-data.ts';
import { isFiniteF32 } from './problem.ts';
import { normals, random } from './random.ts';
import { readOptions } from './record.ts';
import { checkCount } from './sizes.ts';
import { elementCount, type HostTensor } from './tensor.ts';

export interface TrainableOptions {
  /** Numbers in a word's vector, in the inputs and in the outputs. */
  width: number;
  /** How many heads the width is divided into. Must divide the width. Default 1. */
  heads?: number;
  /** Word n sees only words m ≤ n. Default false. */
  isCausal?: boolean;
  /** Seed of the random initial weights, an integer from 0 to 2³² − 1. Default 0. */
  seed?: number;
}

export interface WordModelOptions extends TrainableOptions {
  /** How many words there are. Tokens are integers from 0 to vocabulary − 1. */
  vocabulary: number;
  /** Words in a sentence. Shorter sentences must be padded at their end. */
  length: number;
  /** Word n sees only words m ≤ n. Default true, so that padding at a sentence's end changes nothing before it. */
  isCausal?: boolean;
  /** Standard deviation of the initial word vectors. Large values make training overlook words. Default 0.1. */
  tokenDeviation?: number;
  /** Standard deviation of the initial position vectors. Default 0.02. */
  positionDeviation?: number;
}

export interface WordAdamOptions extends AdamOptions {
  /** Learning rate of the position vectors, as a multiple of `learningRate`. Default 1. */
  positionRate?: number;
}

export interface TrainablePlanOptions {
  /** Sentences in a batch. */
  batch: number;
  /** Words in a sentence. */
  length: number;
  /** Also plan the backward pass. Default false. */
  backward?: boolean;
  /** Also return the attention weights. The explicit kernels then run. An error together with `backward`. Default false. */
  returnWeights?: boolean;
}

/** Weight matrices [width, width], applied as x · W. Their names are those of `selfAttention`. */
export interface SelfAttentionParameters {
  readonly queryWeights: HostTensor;
  readonly keyWeights: HostTensor;
  readonly valueWeights: HostTensor;
  readonly outputWeights: HostTensor;
}

export interface WordModelParameters extends SelfAttentionParameters {
  readonly tokens: HostTensor; // [vocabulary, width]
  readonly positions: HostTensor; // [length, width]
  readonly classWeights: HostTensor; // [width, vocabulary]
  readonly classBias: HostTensor; // [vocabulary]
}

export const MATRICES = ['queryWeights', 'keyWeights', 'valueWeights', 'outputWeights'] as const;
/** `positions` is last, so that the other tables lie in one range: Adam takes a range with one learning rate at a time. */
export const TABLES = ['tokens', 'classWeights', 'classBias', 'positions'] as const;

export const LAYER_KEYS = ['width', 'heads', 'isCausal', 'seed'];
export const WORD_KEYS = [...LAYER_KEYS, 'vocabulary', 'length', 'tokenDeviation', 'positionDeviation'];

/** @throws AttentionError 'option' or 'shape' */
export function normalizeTrainable(caller: string, options: TrainableOptions, isCausalDefault = false): Required<TrainableOptions> {
  const { width, heads = 1, isCausal = isCausalDefault, seed = 0 } = readOptions(caller, options, LAYER_KEYS);
  checkWhole(caller, 'width', width);
  checkWhole(caller, 'heads', heads);
  if (width % heads !== 0) throw new AttentionError('shape', `${caller}: heads is ${heads}, width is ${width}: heads must divide it`);
  checkCount(`${caller}: a matrix`, [width, width]);
  if (typeof isCausal !== 'boolean') throw new AttentionError('option', `${caller}: isCausal is ${quote(isCausal)}: need true or false`);
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32)
    throw new AttentionError('option', `${caller}: seed is ${quote(seed)}: need an integer from 0 to 2^32 − 1`);
  return { width, heads, isCausal, seed };
}

/** @throws AttentionError 'option' or 'shape' */
export function normalizeWordModel(caller: string, options: WordModelOptions): Required<WordModelOptions> {
  const { vocabulary, length, tokenDeviation = 0.1, positionDeviation = 0.02, ...rest } = readOptions(caller, options, WORD_KEYS);
  checkWhole(caller, 'vocabulary', vocabulary);
  checkWhole(caller, 'length', length);
  for (const [name, value] of Object.entries({ tokenDeviation, positionDeviation }))
    if (!isFiniteF32(value) || value < 0)
      throw new AttentionError('option', `${caller}: ${name} is ${quote(value)}: need a finite number ≥ 0`);
  const layer = normalizeTrainable(caller, rest, true);
  checkCount(`${caller}: the table of tokens`, [vocabulary, layer.width]);
  checkCount(`${caller}: the table of positions`, [length, layer.width]);
  return { ...layer, vocabulary, length, tokenDeviation, positionDeviation };
}

export function normalizeWordAdam(caller: string, options: WordAdamOptions = {}): Required<WordAdamOptions> {
  const { positionRate = 1, ...adam } = readOptions(caller, options, [...ADAM_KEYS, 'positionRate']);
  if (!isFiniteF32(positionRate) || positionRate < 0)
    throw new AttentionError('option', `${caller}: positionRate is ${quote(positionRate)}: need a finite number ≥ 0`);
  return { ...normalizeAdam(caller, adam), positionRate };
}

/** @throws AttentionError 'option' unless `value` is an integer from 1 on */
export function checkWhole(caller: string, name: string, value: unknown): void {
  if (!Number.isSafeInteger(value) || (value as number) < 1)
    throw new AttentionError('option', `${caller}: ${name} is ${quote(value)}: need an integer ≥ 1`);
}

/** The initial weights of a layer: random numbers from the normal distribution with standard deviation 1/√width. */
export function initialLayer({ width, seed }: Required<TrainableOptions>): SelfAttentionParameters {
  const next = random(seed);
  const matrix = (): HostTensor => ({ data: normals(next, width * width, 1 / Math.sqrt(width)), shape: [width, width] });
  return { queryWeights: matrix(), keyWeights: matrix(), valueWeights: matrix(), outputWeights: matrix() };
}

/** The initial tables of a word model. Its layer has `initialLayer`. */
export function initialTables(options: Required<WordModelOptions>): Pick<WordModelParameters, (typeof TABLES)[number]> {
  const { vocabulary, length, width, seed, tokenDeviation, positionDeviation } = options;
  const next = random(seed + 0x9e3779b9); // another stream than the layer's
  const table = (deviation: number, ...shape: number[]): HostTensor => ({ data: normals(next, elementCount(shape), deviation), shape });
  return {
    tokens: table(tokenDeviation, vocabulary, width),
    positions: table(positionDeviation, length, width),
    classWeights: table(1 / Math.sqrt(width), width, vocabulary),
    classBias: { data: new Float32Array(vocabulary), shape: [vocabulary] },
  };
}

/** Checks tokens or targets of sentences: integers from 0 to vocabulary − 1, in one list or in rows of `length`. A target of −1 stands for none. */
export function checkTokens(
  caller: string,
  name: 'tokens' | 'targets',
  given: Integers,
  { batch, length }: { batch: number; length: number },
  vocabulary: number,
): Uint32Array<ArrayBuffer> {
  const what = `${caller}: ${name}`;
  const { data, shape } = readIntegers(what, given, name === 'targets' ? -1 : 0, vocabulary - 1);
  const isFlat = shape.length === 1 && data.length === batch * length;
  if (!isFlat && quote(shape) !== quote([batch, length]))
    throw new AttentionError(
      'shape',
      `${what} has shape ${quote(shape)}: need ${batch * length}, one a word, or ${quote([batch, length])}`,
    );
  return data;
}

export interface PlanSizes {
  readonly batch: number;
  readonly length: number;
  readonly backward: boolean;
  readonly returnWeights: boolean;
}

export const PLAN_KEYS = ['batch', 'length', 'backward', 'returnWeights'];

/** @throws AttentionError 'option' */
export function normalizePlan(caller: string, options: TrainablePlanOptions): PlanSizes {
  const { batch, length, backward = false, returnWeights = false } = readOptions(caller, options, PLAN_KEYS);
  checkWhole(caller, 'batch', batch);
  checkWhole(caller, 'length', length);
  for (const [name, value] of Object.entries({ backward, returnWeights }))
    if (typeof value !== 'boolean') throw new AttentionError('option', `${caller}: ${name} is ${quote(value)}: need true or false`);
  if (backward && returnWeights)
    throw new AttentionError('option', `${caller}: returnWeights is true and backward too: make a plan for each, on the same parameters`);
  return { batch, length, backward, returnWeights };
}

/** Checks a caller's parameters against their shapes, each read once, and returns their data. @throws AttentionError 'option', 'shape', 'dtype' */
export function checkParameters(
  caller: string,
  parameters: Partial<Record<string, HostInput>>,
  shapes: Readonly<Record<string, readonly number[]>>,
): readonly (readonly [name: string, tensor: HostTensor])[] {
  const given = Object.entries(readOptions(caller, parameters, Object.keys(shapes))).filter(([, tensor]) => tensor !== undefined);
  return given.map(([name, tensor]) => {
    const read = readFloats(`${caller}: ${name}`, tensor!);
    const { shape } = read;
    if (quote(shape) !== quote(shapes[name]))
      throw new AttentionError('shape', `${caller}: ${name} is ${quote(shape)}: need ${quote(shapes[name])}`);
    return [name, read] as const;
  });
}
