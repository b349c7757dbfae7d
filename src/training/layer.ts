/** A layer of trainable self-attention on one device. Loaded when it is first used. */
import { type AdamOptions, normalizeAdam } from '../contract/adam-options.ts';
import type { Attention } from '../contract/api.ts';
import { AttentionError } from '../contract/errors.ts';
import type { HostInput } from '../contract/host-data.ts';
import {
  checkParameters,
  initialLayer,
  MATRICES,
  normalizePlan,
  normalizeTrainable,
  type SelfAttentionParameters,
  type TrainableOptions,
  type TrainablePlanOptions,
} from '../contract/trainable-options.ts';
import type { TrainableSelfAttention } from '../contract/training.ts';
import { type Session, sessionOf } from '../gpu/session.ts';
import { LayerPlan, type PlannedLayer } from './layer-plan.ts';
import { ParameterSet } from './parameters.ts';

export async function makeLayer(caller: string, attention: Attention, options: TrainableOptions): Promise<Layer> {
  const normal = normalizeTrainable(caller, options);
  const session = sessionOf(caller, attention);
  const { width } = normal;
  const parameters = await session.lifeline.wait(
    caller,
    // Matrices are stored as [out, in], like PyTorch's in_proj_weight. The query, key and value projections are then one product.
    ParameterSet.create(caller, session, Object.fromEntries(MATRICES.map((name) => [name, [width, width]]))),
  );
  const layer = new Layer(session, normal, parameters);
  layer.load(initialLayer(normal));
  return layer;
}

export class Layer implements TrainableSelfAttention, PlannedLayer {
  readonly width: number;
  readonly heads: number;
  readonly isCausal: boolean;
  private readonly plans = new Set<LayerPlan>();
  private isDestroyed = false;

  constructor(
    readonly session: Session,
    { width, heads, isCausal }: Required<TrainableOptions>,
    readonly weights: ParameterSet,
  ) {
    this.width = width;
    this.heads = heads;
    this.isCausal = isCausal;
  }

  async plan(options: TrainablePlanOptions): Promise<LayerPlan> {
    const caller = 'plan';
    this.check(caller);
    const sizes = normalizePlan(caller, options);
    const plan = await this.session.lifeline.wait(caller, LayerPlan.create(caller, this, sizes));
    if (this.isDestroyed) plan.destroy();
    this.check(caller);
    this.plans.add(plan);
    return plan;
  }

  async parameters(): Promise<SelfAttentionParameters> {
    this.check('parameters');
    return this.read('values');
  }

  async gradients(): Promise<SelfAttentionParameters> {
    this.check('gradients');
    return this.read('gradients');
  }

  load(parameters: Partial<Record<keyof SelfAttentionParameters, HostInput>>): void {
    this.check('load');
    const { width } = this;
    const checked = checkParameters('load', parameters, Object.fromEntries(MATRICES.map((name) => [name, [width, width]])));
    for (const [name, { data }] of checked) this.weights.write(name, transpose(data, width));
    this.weights.restart();
  }

  encodeUpdate(pass: GPUComputePassEncoder, options: AdamOptions = {}): void {
    this.check('encodeUpdate');
    this.weights.encodeUpdate(pass, [{ range: { first: 0, count: this.weights.total }, options: normalizeAdam('encodeUpdate', options) }]);
  }

  async update(options: AdamOptions = {}): Promise<void> {
    const adam = normalizeAdam('update', options);
    await this.session.submit('update', this.weights.own, (pass) => this.encodeUpdate(pass, adam));
  }

  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    for (const plan of this.plans) plan.destroy();
    this.weights.destroy();
  }

  /** @throws AttentionError 'device-lost' */
  check(caller: string): void {
    this.session.lifeline.check(caller);
    if (this.isDestroyed) throw new AttentionError('device-lost', `${caller}: this layer was destroyed`);
  }

  forget(plan: LayerPlan): void {
    this.plans.delete(plan);
  }

  private async read(of: 'values' | 'gradients'): Promise<SelfAttentionParameters> {
    const { width } = this;
    const all = await this.weights.read(of);
    const matrices = MATRICES.map((name) => [name, { data: transpose(all.get(name)!, width), shape: [width, width] }]);
    return Object.fromEntries(matrices) as SelfAttentionParameters;
  }
}

/** The transpose of a matrix [width, width]. */
function transpose(data: ArrayLike<number>, width: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: width * width }, (_, i) => data[(i % width) * width + Math.floor(i / width)]!);
}
