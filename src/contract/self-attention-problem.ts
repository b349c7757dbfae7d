/** The contract of selfAttention, for the GPU and the reference. Rows and weight matrices are checked and normalised here once. */
import { AttentionError, quote } from './errors.ts';
import { isArray } from './host-array.ts';
import { type HostInput, readFloats } from './host-data.ts';
import type { Dropout } from './options.ts';
import { isFiniteF32, readDropout } from './problem.ts';
import { readOptions } from './record.ts';
import { checkCount } from './sizes.ts';
import type { HostTensor } from './tensor.ts';

/** A matrix as rows of numbers, or as elements with their shape. */
export type Rows = HostInput;

/** Options of `selfAttention`. Weight matrices are [in, width]: q = x · queryWeights. */
export interface SelfAttentionOptions {
  /** [in, H·D]; absent: the identity, so q is the input itself */
  queryWeights?: Rows;
  /** [in, H·D]; absent: the identity */
  keyWeights?: Rows;
  /** [in, H·Dv]; absent: the identity */
  valueWeights?: Rows;
  /** [H·Dv, out]: multiplies the context vectors of all heads side by side; absent: the identity */
  outputWeights?: Rows;
  /** [out]: added to the context vectors after outputWeights. Default none. */
  outputBias?: HostInput;
  /** How many heads the width is divided into. Must divide the width. Default 1. */
  heads?: number;
  /** Default 1 without query, key and value weights (the simplified self-attention), else 1/√(head size). */
  scale?: number;
  /** Word n sees only words m ≤ n. Default false. */
  isCausal?: boolean;
  /** Drops weights before they multiply the values. The weights returned are those before dropout. Default none. */
  dropout?: Dropout;
}

/** The result of `selfAttention`. A shape has B only where the inputs have it, and H only with more than one head. */
export interface SelfAttentionResult {
  /** [B?,H?,N,N]: scale · q kᵀ, before any mask */
  readonly scores: HostTensor;
  /** [B?,H?,N,N]: the softmax of each row of scores; each row sums to 1 */
  readonly weights: HostTensor;
  /** [B?,N,out]: the context vector of each input row */
  readonly context: HostTensor;
}

export interface SelfAttentionProblem {
  readonly inputs: HostTensor; // [B, N, in]
  readonly isBatched: boolean; // the caller gave [B,N,in]
  readonly heads: number;
  readonly scale: number;
  readonly isCausal: boolean;
  readonly dropout: Dropout | undefined;
  readonly D: number;
  readonly Dv: number;
  readonly queryWeights: HostTensor | undefined;
  readonly keyWeights: HostTensor | undefined;
  readonly valueWeights: HostTensor | undefined;
  readonly outputWeights: HostTensor | undefined;
  readonly outputBias: HostTensor | undefined;
}

export const KEYS = ['queryWeights', 'keyWeights', 'valueWeights', 'outputWeights', 'outputBias', 'heads', 'scale', 'isCausal', 'dropout'];

export function normalizeSelfAttention(inputs: Rows, given: SelfAttentionOptions): SelfAttentionProblem {
  const options = readOptions('selfAttention', given, KEYS);
  const { heads = 1, isCausal = false } = options;
  const dropout = options.dropout === undefined ? undefined : readDropout('selfAttention', options.dropout);
  if (typeof isCausal !== 'boolean')
    throw new AttentionError('option', `selfAttention: isCausal is ${quote(isCausal)}: need true or false`);
  if (!Number.isSafeInteger(heads) || heads < 1)
    throw new AttentionError('option', `selfAttention: heads is ${quote(heads)}: need an integer ≥ 1`);

  const x = toTensor('inputs', inputs, [2, 3]);
  const isBatched = x.shape.length === 3;
  const width = x.shape[x.shape.length - 1]!;
  const weights = (name: string, value: Rows | undefined, rows: number): HostTensor | undefined => {
    if (value === undefined) return undefined;
    const tensor = toTensor(name, value, [2]);
    if (tensor.shape[0] !== rows) {
      throw new AttentionError(
        'shape',
        `selfAttention: ${name} is ${quote(tensor.shape)}: need [${rows}, …] for vectors of ${rows} numbers`,
      );
    }
    return tensor;
  };
  const queryWeights = weights('queryWeights', options.queryWeights, width);
  const keyWeights = weights('keyWeights', options.keyWeights, width);
  const valueWeights = weights('valueWeights', options.valueWeights, width);
  const queryWidth = queryWeights?.shape[1] ?? width;
  const keyWidth = keyWeights?.shape[1] ?? width;
  const valueWidth = valueWeights?.shape[1] ?? width;
  if (queryWidth !== keyWidth)
    throw new AttentionError('shape', `selfAttention: queries have ${queryWidth} numbers, keys ${keyWidth}: the widths must be equal`);
  for (const [name, size] of [
    ['query and key', queryWidth],
    ['value', valueWidth],
  ] as const) {
    if (size % heads !== 0)
      throw new AttentionError('shape', `selfAttention: heads is ${heads}, the ${name} width is ${size}: heads must divide it`);
  }
  const outputBias = options.outputBias === undefined ? undefined : toTensor('outputBias', options.outputBias, [1]);
  const outputWeights = weights('outputWeights', options.outputWeights ?? (outputBias && identity(valueWidth)), valueWidth);
  const outputWidth = outputWeights?.shape[1] ?? valueWidth;
  if (outputBias && outputBias.shape[0] !== outputWidth) {
    throw new AttentionError('shape', `selfAttention: outputBias is ${quote(outputBias.shape)}: need [${outputWidth}]`);
  }
  const D = queryWidth / heads;
  const isTrainable = queryWeights !== undefined || keyWeights !== undefined || valueWeights !== undefined;
  const scale = options.scale === undefined ? (isTrainable ? 1 / Math.sqrt(D) : 1) : options.scale;
  if (!isFiniteF32(scale)) throw new AttentionError('option', `selfAttention: scale is ${quote(scale)}: need a finite number`);
  const batched = isBatched ? x : { data: x.data, shape: [1, ...x.shape] };
  return {
    inputs: batched,
    isBatched,
    heads,
    scale,
    isCausal,
    dropout,
    D,
    Dv: valueWidth / heads,
    queryWeights,
    keyWeights,
    valueWeights,
    outputWeights,
    outputBias,
  };
}

/** The shapes of a result: [B,H,N,N] and [B,N,out], without B where the inputs have none and without H where there is one head. */
export function resultShapes(
  { inputs, isBatched, heads }: SelfAttentionProblem,
  outputWidth: number,
): { scores: number[]; context: number[] } {
  const [B, N] = inputs.shape as [number, number];
  const batch = isBatched ? [B] : [];
  return { scores: [...batch, ...(heads > 1 ? [heads] : []), N, N], context: [...batch, N, outputWidth] };
}

function identity(width: number): HostTensor {
  const shape = [width, width];
  checkCount('selfAttention: the identity in place of outputWeights', shape);
  return { data: Float64Array.from({ length: width * width }, (_, i) => Number(i % (width + 1) === 0)), shape };
}

/** Reads a caller's numbers as a host tensor. Its rank must be one of `ranks`. */
function toTensor(name: string, value: HostInput, ranks: readonly number[]): HostTensor {
  const what = `selfAttention: ${name}`;
  const tensor = readFloats(what, value);
  const { shape } = tensor;
  const fail = (need: string): never => {
    throw new AttentionError('shape', `${what} is ${quote(isArray(what, value) ? value : shape)}: need ${need}`);
  };
  if (!ranks.includes(shape.length)) fail(`rank ${ranks.join(' or ')}, not ${shape.length}`);
  if (shape[shape.length - 1] === 0) fail('at least one number a row');
  return tensor;
}
