/** A layer compiled for inputs of one shape: its tensors, and the dispatches of the forward and the backward pass. */
import type { AttentionPlan, AttentionTensors, BackwardTensors } from '../contract/api.ts';
import { AttentionError, quote } from '../contract/errors.ts';
import { type HostInput, readFloats } from '../contract/host-data.ts';
import type { GpuTensor, HostTensor } from '../contract/tensor.ts';
import type { PlanSizes } from '../contract/trainable-options.ts';
import type { PlannedKernel, TrainablePlan } from '../contract/training.ts';
import type { Session } from '../gpu/session.ts';
import { planProblem } from '../plan/calls.ts';
import type { ParameterSet } from './parameters.ts';
import { type Operation, Parts, product, rowsOf, type Sequence, transposed } from './sequence.ts';

/** The members of a layer that its plans use. */
export interface PlannedLayer {
  readonly session: Session;
  readonly width: number;
  readonly heads: number;
  readonly isCausal: boolean;
  readonly weights: ParameterSet;
  /** @throws AttentionError 'device-lost' when the layer or its device has ended */
  check(caller: string): void;
  /** Called by a plan that is destroyed. */
  forget(plan: LayerPlan): void;
}

/** The tensors of a plan, by their letters in the formulas. A name with d is a gradient: there are some only with a backward pass. */
interface Tensors {
  readonly x: GpuTensor; // [batch, length, width], the shape of every tensor here but qkv, lse and weights
  readonly qkv: GpuTensor; // [batch, length, 3 · width]: queries, keys and values side by side in a row
  readonly context: GpuTensor; // the context vectors of all heads side by side in a row
  readonly y: GpuTensor;
  readonly weights?: GpuTensor; // [batch, heads, length, length]
  readonly lse?: GpuTensor; // [batch, heads, length]
  readonly dY?: GpuTensor;
  readonly dContext?: GpuTensor;
  readonly dQ?: GpuTensor;
  readonly dK?: GpuTensor;
  readonly dV?: GpuTensor;
  readonly dX?: GpuTensor;
}

type Sequences = Readonly<Record<'inputs' | 'outputs', Sequence>> & Partial<Record<'dOutputs' | 'dInputs', Sequence>>;

export class LayerPlan implements TrainablePlan {
  readonly x: GpuTensor;
  readonly y: GpuTensor;
  readonly weights?: GpuTensor;
  readonly dY?: GpuTensor;
  readonly dX?: GpuTensor;
  readonly kernels: readonly PlannedKernel[];
  /** How many of the kernels belong to the backward pass. They come last. */
  readonly backwardKernels: number;
  /** Every tensor that a pass uses: the plan's and the layer's parameters. */
  readonly own: readonly GpuTensor[];
  private isDestroyed = false;

  private constructor(
    private readonly layer: PlannedLayer,
    tensors: Tensors,
    private readonly parts: Parts,
    private readonly attention: AttentionPlan,
    private readonly bound: AttentionTensors & BackwardTensors,
    private readonly sequences: Sequences,
  ) {
    this.own = [...parts.tensors, ...layer.weights.own];
    const { x, y, weights, dY, dX } = tensors;
    this.x = x;
    this.y = y;
    if (weights) this.weights = weights;
    if (dY && dX) Object.assign(this, { dY, dX });
    const { inputs, outputs, dOutputs, dInputs } = sequences;
    const isBackward = ({ name }: PlannedKernel) => name.startsWith('flash_backward');
    const { kernels } = attention;
    const forward = [...inputs.kernels, ...kernels.filter((kernel) => !isBackward(kernel)), ...outputs.kernels];
    const backward = [...(dOutputs?.kernels ?? []), ...kernels.filter(isBackward), ...(dInputs?.kernels ?? [])];
    this.kernels = [...forward, ...backward];
    this.backwardKernels = backward.length;
  }

  /** @throws AttentionError 'limit', 'compile', 'device-lost' */
  static async create(caller: string, layer: PlannedLayer, sizes: PlanSizes): Promise<LayerPlan> {
    const parts = new Parts(caller, layer.session);
    return parts.whole(() => LayerPlan.compile(layer, sizes, parts));
  }

  private static async compile(layer: PlannedLayer, sizes: PlanSizes, parts: Parts): Promise<LayerPlan> {
    const { session, heads, isCausal } = layer;
    const tensors = makeTensors(layer, sizes, parts);
    const views = headViews(tensors, sizes, heads);
    const planned = planProblem(session, {
      ...{ q: views.q, k: views.k, v: views.v, out: views.out, isCausal },
      ...(sizes.backward && { backward: { gradient: views.gradient!, dq: views.dq!, dk: views.dk!, dv: views.dv! } }),
      ...(sizes.returnWeights && { returnScores: 'weights' as const }),
    });
    const attention = await parts.add(planned);
    const { workspaceBytes } = attention;
    const workspace = workspaceBytes > 0 ? parts.tensor('workspace', [workspaceBytes / 4]).buffer : undefined;
    const { lse, weights: scores } = tensors;
    const bound = { ...views, ...(lse && { lse }), ...(scores && { scores }), ...(workspace && { workspace }) };
    const forward = forwardOperations(layer, tensors, sizes);
    const sequences: Sequences = {
      inputs: await parts.sequence(forward.inputs),
      outputs: await parts.sequence(forward.outputs),
      ...(sizes.backward && (await backwardSequences(layer, tensors, sizes, parts))),
    };
    return new LayerPlan(layer, tensors, parts, attention, bound as AttentionTensors & BackwardTensors, sequences);
  }

  encode(pass: GPUComputePassEncoder): void {
    this.check('encode');
    const { q, k, v, out, lse, scores, workspace } = this.bound;
    this.sequences.inputs.encode(pass);
    this.attention.encode(pass, { q, k, v, out, ...(lse && { lse }), ...(scores && { scores }), ...(workspace && { workspace }) });
    this.sequences.outputs.encode(pass);
  }

  encodeBackward(pass: GPUComputePassEncoder): void {
    this.check('encodeBackward');
    const { dOutputs, dInputs } = this.sequences;
    if (!dOutputs || !dInputs) throw new AttentionError('option', 'encodeBackward: this plan was made without backward: true');
    dOutputs.encode(pass, 'encodeBackward');
    this.attention.encodeBackward(pass, this.bound);
    dInputs.encode(pass);
  }

  async forward(x: HostInput): Promise<HostTensor> {
    return this.run('forward', 'x', this.x, x, this.y, (pass) => this.encode(pass));
  }

  async backward(dY: HostInput): Promise<HostTensor> {
    this.check('backward');
    if (!this.dY || !this.dX) throw new AttentionError('option', 'backward: this plan was made without backward: true');
    return this.run('backward', 'dY', this.dY, dY, this.dX, (pass) => this.encodeBackward(pass));
  }

  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.layer.forget(this);
    this.parts.destroy();
  }

  /** @throws AttentionError 'device-lost' */
  check(caller: string): void {
    this.layer.check(caller);
    if (this.isDestroyed) throw new AttentionError('device-lost', `${caller}: this plan was destroyed`);
  }

  private async run(
    caller: string,
    name: string,
    to: GpuTensor,
    given: HostInput,
    from: GpuTensor,
    encode: (pass: GPUComputePassEncoder) => void,
  ): Promise<HostTensor> {
    this.check(caller);
    const { data, shape } = readFloats(`${caller}: ${name}`, given);
    if (quote(shape) !== quote(to.shape))
      throw new AttentionError('shape', `${caller}: ${name} is ${quote(shape)}, the plan has ${quote(to.shape)}`);
    const { session } = this.layer;
    session.pool.write(to.buffer, 0, Float32Array.from(data).buffer, caller);
    // The download is submitted at once, because the next call overwrites the result.
    const [, result] = await Promise.all([session.submit(caller, this.own, encode), session.download(from)]);
    return result;
  }
}

function makeTensors({ width, heads }: PlannedLayer, { batch, length, backward, returnWeights }: PlanSizes, parts: Parts): Tensors {
  const rows = (name: string, times = 1) => parts.tensor(name, [batch, length, times * width]);
  return {
    ...{ x: rows('x'), qkv: rows('qkv', 3), context: rows('context'), y: rows('y') },
    ...(returnWeights && { weights: parts.tensor('weights', [batch, heads, length, length]) }),
    ...(backward && {
      ...{ lse: parts.tensor('lse', [batch, heads, length]), dY: rows('dY'), dContext: rows('dContext') },
      ...{ dQ: rows('dQ'), dK: rows('dK'), dV: rows('dV'), dX: rows('dX') },
    }),
  };
}

/** Views [B,H,N,D] of the heads in the tensors' rows, by the names that an attention plan has for them. */
function headViews(tensors: Tensors, { batch, length }: PlanSizes, heads: number) {
  const width = tensors.x.shape[2]!;
  const view = ({ buffer }: GpuTensor, times = 1, part = 0): GpuTensor => ({
    ...{ buffer, dtype: 'f32', offset: 4 * width * part },
    shape: [batch, heads, length, width / heads],
    strides: [length * times * width, width / heads, times * width, 1],
  });
  const { qkv, context, dContext, dQ, dK, dV } = tensors;
  return {
    ...{ q: view(qkv, 3, 0), k: view(qkv, 3, 1), v: view(qkv, 3, 2), out: view(context) },
    ...(dContext && dQ && dK && dV && { gradient: view(dContext), dq: view(dQ), dk: view(dK), dv: view(dV) }),
  };
}

/**
 * The matrices of a layer, or their gradients, as [out, in]. `inputs` is the query, key and value matrices together, one matrix [3 · width, width].
 */
function matrices({ weights, width }: PlannedLayer, of: 'values' | 'gradients') {
  const query = weights.tensor('queryWeights', of);
  return {
    query,
    key: weights.tensor('keyWeights', of),
    value: weights.tensor('valueWeights', of),
    output: weights.tensor('outputWeights', of),
    inputs: { ...query, shape: [3 * width, width] },
  };
}

function forwardOperations(
  layer: PlannedLayer,
  { x, qkv, context, y }: Tensors,
  { batch, length }: PlanSizes,
): Record<'inputs' | 'outputs', Operation[]> {
  const { session, width } = layer;
  const values = matrices(layer, 'values');
  return {
    inputs: [product(session, [batch * length, width, 3 * width], rowsOf(x), transposed(rowsOf(values.inputs)), qkv)],
    outputs: [product(session, [batch * length, width, width], rowsOf(context), transposed(rowsOf(values.output)), y)],
  };
}

/**
 * The products of the backward pass, with matrices W as [out, in].
 * Output projection: dContext = dY W, dW = dYᵀ context.
 * Input projections: dX = dQ W_query + dK W_key + dV W_value, and for the query dW = dQᵀ x; key and value alike.
 */
async function backwardSequences(
  layer: PlannedLayer,
  tensors: Tensors,
  { batch, length }: PlanSizes,
  parts: Parts,
): Promise<Record<'dOutputs' | 'dInputs', Sequence>> {
  const { session, width } = layer;
  const rows = batch * length;
  const { x, context, dY, dContext, dQ, dK, dV, dX } = tensors as Required<Tensors>;
  const [values, gradients] = [matrices(layer, 'values'), matrices(layer, 'gradients')];
  const ofInput = (gradient: GpuTensor, name: 'query' | 'key' | 'value', accumulates: boolean): Operation[] => [
    product(session, [rows, width, width], rowsOf(gradient), rowsOf(values[name]), dX, { accumulates }),
    product(session, [width, rows, width], transposed(rowsOf(gradient)), rowsOf(x), gradients[name]),
  ];
  return {
    dOutputs: await parts.sequence([
      product(session, [rows, width, width], rowsOf(dY), rowsOf(values.output), dContext),
      product(session, [width, rows, width], transposed(rowsOf(dY)), rowsOf(context), gradients.output),
    ]),
    dInputs: await parts.sequence([...ofInput(dQ, 'query', false), ...ofInput(dK, 'key', true), ...ofInput(dV, 'value', true)]),
  };
}
