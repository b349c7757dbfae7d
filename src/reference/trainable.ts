import { type AdamOptions, normalizeAdam } from '../contract/adam-options.ts';
import { AttentionError, quote, withinMemory } from '../contract/errors.ts';
import { type HostInput, readFloats } from '../contract/host-data.ts';
import type { HostTensor } from '../contract/tensor.ts';
import {
  checkParameters,
  initialLayer,
  type MATRICES,
  normalizeTrainable,
  type SelfAttentionParameters,
  type TrainableOptions,
} from '../contract/trainable-options.ts';
import { adam, type Moments } from './adam.ts';
import { scaledDotProductAttention } from './attention.ts';
import { backward } from './attention_backward.ts';
import { project, projectBackward } from './project.ts';
import { swapMiddle } from './self-attention.ts';
import { checkComputed } from './sizes.ts';

/** Named matrices in f64, with their gradients and Adam's moments. */
export class ReferenceParameters<Name extends string> {
  readonly gradients: Readonly<Record<Name, Float64Array>>;
  private readonly moments: Readonly<Record<Name, Moments>>;
  private step = 0;

  constructor(
    readonly values: Readonly<Record<Name, Float64Array>>,
    private readonly shapes: Readonly<Record<Name, readonly number[]>>,
  ) {
    const zeros = (name: Name) => new Float64Array(values[name].length);
    this.gradients = mapValues(values, (name) => zeros(name));
    this.moments = mapValues(values, (name) => ({ mean: zeros(name), square: zeros(name) }));
  }

  static of<Name extends string>(tensors: Readonly<Record<Name, HostTensor>>): ReferenceParameters<Name> {
    return new ReferenceParameters(
      mapValues(tensors, (name) => Float64Array.from(tensors[name].data)),
      mapValues(tensors, (name) => tensors[name].shape),
    );
  }

  tensors(of: 'values' | 'gradients'): Record<Name, HostTensor> {
    return mapValues(this.shapes, (name) => ({ data: this[of][name].slice(), shape: this.shapes[name] }));
  }

  /** Sets some or all matrices, and resets Adam. @throws AttentionError 'option', 'shape', 'dtype' */
  load(tensors: Partial<Record<Name, HostInput>>): void {
    for (const [name, { data }] of checkParameters('load', tensors, this.shapes)) this.values[name as Name].set(data);
    for (const { mean, square } of Object.values<Moments>(this.moments)) {
      mean.fill(0);
      square.fill(0);
    }
    this.step = 0;
  }

  /** One step of Adam. @param options the options for each matrix */
  update(options: (name: Name) => Required<AdamOptions>): void {
    this.step++;
    for (const name of Object.keys(this.values) as Name[])
      adam(this.values[name], this.gradients[name], this.moments[name], this.step, options(name));
  }
}

function mapValues<Name extends string, T>(record: Readonly<Record<Name, unknown>>, make: (name: Name) => T): Record<Name, T> {
  return Object.fromEntries((Object.keys(record) as Name[]).map((name) => [name, make(name)])) as Record<Name, T>;
}

/** The tensors of a forward pass that the backward pass reads. */
interface Pass {
  readonly x: HostTensor; // [B,N,width]
  readonly q: HostTensor; // [B,H,N,D]
  readonly k: HostTensor;
  readonly v: HostTensor;
  readonly out: HostTensor;
  readonly lse: HostTensor; // [B,H,N]
  readonly context: Float64Array; // [B,N,width]
}

/** Self-attention with trainable projections on the CPU, in f64: the synchronous twin of `createTrainableSelfAttention`, from the same seed. */
export class TrainableReference {
  private readonly options: Required<TrainableOptions>;
  private readonly weights: ReferenceParameters<(typeof MATRICES)[number]>;
  private pass: Pass | undefined;

  /** @throws AttentionError 'option', 'shape' */
  constructor(options: TrainableOptions) {
    this.options = normalizeTrainable('TrainableReference', options);
    this.weights = withinMemory('TrainableReference', () => ReferenceParameters.of(initialLayer(this.options)));
  }

  /** Copies of every parameter. */
  parameters(): SelfAttentionParameters {
    return this.weights.tensors('values');
  }

  /** Copies of the gradients of the last backward pass. They are 0 before the first. */
  gradients(): SelfAttentionParameters {
    return this.weights.tensors('gradients');
  }

  /** Sets some or all parameters, and resets Adam. @throws AttentionError 'option', 'shape', 'dtype' */
  load(parameters: Partial<Record<keyof SelfAttentionParameters, HostInput>>): void {
    this.weights.load(parameters);
  }

  /**
   * @param given x [B,N,width]
   * @returns y of x's shape, and the attention weights [B,H,N,N]
   * @throws AttentionError 'shape', 'dtype'
   */
  forward(given: HostInput): { readonly y: HostTensor; readonly weights: HostTensor } {
    const { width, heads, isCausal } = this.options;
    const x = this.read('forward: x', given);
    const [B, N] = x.shape as [number, number];
    checkComputed('forward: weights', B, heads, N, N);
    const { queryWeights, keyWeights, valueWeights, outputWeights } = this.weights.values;
    const heading = (matrix: Float64Array): HostTensor => {
      const rows = project(x.data, matrix, undefined, width, width);
      return { data: swapMiddle(rows, B, N, heads, width / heads), shape: [B, heads, N, width / heads] };
    };
    const [q, k, v] = [heading(queryWeights), heading(keyWeights), heading(valueWeights)];
    const { out, lse, scores } = scaledDotProductAttention(q, k, v, { isCausal, returnLse: true, returnScores: 'weights' });
    const context = swapMiddle(out.data, B, heads, N, width / heads);
    this.pass = { x, q, k, v, out, lse: lse!, context };
    return { y: { data: project(context, outputWeights, undefined, width, width), shape: x.shape }, weights: scores! };
  }

  /**
   * @param given dY [B,N,width], the gradient of y of the last `forward`
   * @returns dX, the gradient of x of the last `forward`
   * @throws AttentionError 'option' before a forward pass, 'shape', 'dtype'
   */
  backward(given: HostInput): HostTensor {
    if (!this.pass) throw new AttentionError('option', 'backward: there was no forward pass yet');
    const { width, heads, isCausal } = this.options;
    const { x, context, ...forward } = this.pass;
    const dY = this.read('backward: dY', given);
    if (quote(dY.shape) !== quote(x.shape))
      throw new AttentionError('shape', `backward: dY is ${quote(dY.shape)}, x was ${quote(x.shape)}`);
    const [B, N] = x.shape as [number, number];
    const { values, gradients } = this.weights;
    const output = projectBackward(dY.data, context, values.outputWeights, width, width);
    gradients.outputWeights.set(output.weights);
    const ofHeads = { data: swapMiddle(output.x, B, N, heads, width / heads), shape: forward.out.shape };
    const { q, k, v } = backward(ofHeads, forward, { isCausal });
    const dX = new Float64Array(x.data.length);
    for (const [name, { data }] of Object.entries({ queryWeights: q, keyWeights: k, valueWeights: v }) as ['queryWeights', HostTensor][]) {
      const made = projectBackward(swapMiddle(data, B, heads, N, width / heads), x.data, values[name], width, width);
      gradients[name].set(made.weights);
      for (const [i, value] of made.x.entries()) dX[i]! += value;
    }
    return { data: dX, shape: x.shape };
  }

  /** One step of Adam with the last gradients. @throws AttentionError 'option' */
  update(options: AdamOptions = {}): void {
    const normal = normalizeAdam('update', options);
    this.weights.update(() => normal);
  }

  private read(what: string, given: HostInput): HostTensor {
    const tensor = readFloats(what, given);
    if (tensor.shape.length !== 3 || tensor.shape[2] !== this.options.width)
      throw new AttentionError('shape', `${what} is ${quote(tensor.shape)}: need [batch, length, ${this.options.width}]`);
    return tensor;
  }
}
