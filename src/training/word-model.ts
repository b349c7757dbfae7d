/**
 * The smallest model around a layer of trainable self-attention. Words go in; logits and losses of the next word come out. Loaded when it is first used.
 */
import type { Attention } from '../contract/api.ts';
import { AttentionError, quote } from '../contract/errors.ts';
import type { HostInput } from '../contract/host-data.ts';
import { readOptions } from '../contract/record.ts';
import type { GpuTensor, HostTensor } from '../contract/tensor.ts';
import {
  checkParameters,
  initialTables,
  MATRICES,
  normalizePlan,
  normalizeWordAdam,
  normalizeWordModel,
  PLAN_KEYS,
  TABLES,
  type TrainablePlanOptions,
  type WordAdamOptions,
  type WordModelOptions,
  type WordModelParameters,
} from '../contract/trainable-options.ts';
import type { WordModel } from '../contract/training.ts';
import { sessionOf } from '../gpu/session.ts';
import { type Layer, makeLayer } from './layer.ts';
import { ParameterSet } from './parameters.ts';
import { Parts } from './sequence.ts';
import { type PlannedWords, WordModelPlan } from './word-plan.ts';

type Shapes = Readonly<Record<string, readonly number[]>>;

export async function makeWordModel(caller: string, attention: Attention, options: WordModelOptions): Promise<Words> {
  const normal = normalizeWordModel(caller, options);
  const session = sessionOf(caller, attention);
  const { width, heads, isCausal, seed } = normal;
  const initial = initialTables(normal);
  const shapes = Object.fromEntries(TABLES.map((name) => [name, initial[name].shape]));
  const parts = new Parts(caller, session);
  return parts.whole(async () => {
    const layer = await parts.add(makeLayer(caller, attention, { width, heads, isCausal, seed }));
    const tables = await parts.add(session.lifeline.wait(caller, ParameterSet.create(caller, session, shapes)));
    const model = new Words(normal, layer, tables, shapes, parts);
    model.load(initial);
    return model;
  });
}

export class Words implements WordModel, PlannedWords {
  readonly vocabulary: number;
  readonly length: number;
  private readonly plans = new Set<WordModelPlan>();
  readonly one: GpuTensor; // [1], the number 1: a sum of rows is a product with ones
  private isDestroyed = false;

  constructor(
    { vocabulary, length }: Required<WordModelOptions>,
    readonly layer: Layer,
    readonly tables: ParameterSet,
    private readonly shapes: Shapes,
    private readonly parts: Parts,
  ) {
    this.one = parts.tensor('one', [1]);
    layer.session.pool.write(this.one.buffer, 0, Float32Array.of(1).buffer);
    this.vocabulary = vocabulary;
    this.length = length;
  }

  async plan(options: Omit<TrainablePlanOptions, 'length'>): Promise<WordModelPlan> {
    const caller = 'plan';
    this.check(caller);
    const given: Partial<TrainablePlanOptions> = readOptions(caller, options, PLAN_KEYS);
    if (given.length !== undefined)
      throw new AttentionError('option', `${caller}: length is ${quote(given.length)}: the model's is ${this.length}, need no other`);
    const sizes = normalizePlan(caller, { ...given, length: this.length } as TrainablePlanOptions);
    const plan = await this.layer.session.lifeline.wait(caller, WordModelPlan.create(caller, this, sizes));
    if (this.isDestroyed) plan.destroy();
    this.check(caller);
    this.plans.add(plan);
    return plan;
  }

  async parameters(): Promise<WordModelParameters> {
    this.check('parameters');
    return this.join(this.layer.parameters(), 'values');
  }

  async gradients(): Promise<WordModelParameters> {
    this.check('gradients');
    return this.join(this.layer.gradients(), 'gradients');
  }

  load(parameters: Partial<Record<keyof WordModelParameters, HostInput>>): void {
    this.check('load');
    const { width } = this.layer;
    const all = { ...this.shapes, ...Object.fromEntries(MATRICES.map((name) => [name, [width, width]])) };
    const checked = checkParameters('load', parameters, all);
    for (const [name, tensor] of checked) if (Object.hasOwn(this.shapes, name)) this.tables.write(name, tensor.data);
    const matrices = checked.filter(([name]) => !Object.hasOwn(this.shapes, name));
    this.layer.load(Object.fromEntries(matrices) as Partial<WordModelParameters>);
    this.tables.restart();
  }

  encodeUpdate(pass: GPUComputePassEncoder, options: WordAdamOptions = {}): void {
    this.check('encodeUpdate');
    const { positionRate, ...adam } = normalizeWordAdam('encodeUpdate', options);
    this.layer.encodeUpdate(pass, adam);
    this.tables.encodeUpdate(pass, [
      { range: this.tables.range('tokens', 'classBias'), options: adam },
      { range: this.tables.range('positions', 'positions'), options: { ...adam, learningRate: positionRate * adam.learningRate } },
    ]);
  }

  async update(options: WordAdamOptions = {}): Promise<void> {
    const adam = normalizeWordAdam('update', options);
    await this.layer.session.submit('update', [...this.layer.weights.own, ...this.tables.own], (pass) => this.encodeUpdate(pass, adam));
  }

  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    for (const plan of this.plans) plan.destroy();
    this.parts.destroy();
  }

  /** @throws AttentionError 'device-lost' */
  check(caller: string): void {
    this.layer.session.lifeline.check(caller);
    if (this.isDestroyed) throw new AttentionError('device-lost', `${caller}: this model was destroyed`);
  }

  forget(plan: WordModelPlan): void {
    this.plans.delete(plan);
  }

  /** The layer's parameters or gradients and the tables'. Both are read at once: a step of training in between would change the second. */
  private async join(reading: Promise<object>, of: 'values' | 'gradients'): Promise<WordModelParameters> {
    const [matrices, data] = await Promise.all([reading, this.tables.read(of)]);
    const tables = TABLES.map((name): [string, HostTensor] => [name, { data: data.get(name)!, shape: this.shapes[name]! }]);
    return { ...matrices, ...Object.fromEntries(tables) } as unknown as WordModelParameters;
  }
}
