/** A word model compiled for a number of sentences: the layer's plan, the embedding before the layer, and the logits and losses after it. */
import { AttentionError } from '../contract/errors.ts';
import type { Integers } from '../contract/host-data.ts';
import { dense, type GpuTensor } from '../contract/tensor.ts';
import { checkTokens, normalizeWordAdam, type PlanSizes, type WordAdamOptions } from '../contract/trainable-options.ts';
import type { PlannedKernel, WordOutput, WordPlan } from '../contract/training.ts';
import { crossEntropyDispatch } from '../kernels/cross_entropy.ts';
import { embeddingDispatch } from '../kernels/embedding.ts';
import { embeddingBackwardDispatch } from '../kernels/embedding_backward.ts';
import { chooseRowTiles } from '../tiles/explicit.ts';
import { basicFacts } from '../tiles/facts.ts';
import type { LayerPlan, PlannedLayer } from './layer-plan.ts';
import type { ParameterSet } from './parameters.ts';
import { layoutOf, type Operand, type Operation, Parts, product, rowsOf, type Sequence, transposed } from './sequence.ts';

/** The members of a model that its plans use. */
export interface PlannedWords {
  readonly vocabulary: number;
  readonly length: number;
  readonly layer: PlannedLayer & { plan(sizes: PlanSizes): Promise<LayerPlan> };
  readonly tables: ParameterSet;
  readonly one: GpuTensor; // [1], the number 1: a sum of rows is a product with ones
  /** @throws AttentionError 'device-lost' when the model or its device has ended */
  check(caller: string): void;
  /** Called by a plan that is destroyed. */
  forget(plan: WordModelPlan): void;
  encodeUpdate(pass: GPUComputePassEncoder, options: WordAdamOptions): void;
}

interface Tensors {
  readonly tokens: GpuTensor; // u32 [batch, length]
  readonly targets: GpuTensor; // u32 [batch, length]
  readonly logits: GpuTensor; // [batch, length, vocabulary]
  readonly losses: GpuTensor; // [batch, length]
  readonly dLogits?: GpuTensor; // [batch, length, vocabulary], only with a backward pass
}

type Sequences = Readonly<Record<'embed' | 'classify', Sequence>> & Partial<Record<'dClassify' | 'dEmbed', Sequence>>;

export class WordModelPlan implements WordPlan {
  readonly tokens: GpuTensor;
  readonly targets: GpuTensor;
  readonly logits: GpuTensor;
  readonly losses: GpuTensor;
  readonly weights?: GpuTensor;
  readonly kernels: readonly PlannedKernel[];
  private readonly own: readonly GpuTensor[]; // every tensor that a pass uses
  private isDestroyed = false;

  private constructor(
    private readonly model: PlannedWords,
    private readonly batch: number,
    private readonly layer: LayerPlan,
    private readonly parts: Parts,
    tensors: Tensors,
    private readonly sequences: Sequences,
  ) {
    this.own = [...parts.tensors, ...layer.own, ...model.tables.own];
    const { tokens, targets, logits, losses } = tensors;
    this.tokens = tokens;
    this.targets = targets;
    this.logits = logits;
    this.losses = losses;
    if (layer.weights) this.weights = layer.weights;
    const { embed, classify, dClassify, dEmbed } = sequences;
    const { kernels } = layer;
    const firstBackward = kernels.length - layer.backwardKernels;
    this.kernels = [
      ...[...embed.kernels, ...kernels.slice(0, firstBackward), ...classify.kernels],
      ...[...(dClassify?.kernels ?? []), ...kernels.slice(firstBackward), ...(dEmbed?.kernels ?? [])],
    ];
  }

  /** @throws AttentionError 'limit', 'compile', 'device-lost' */
  static async create(caller: string, model: PlannedWords, sizes: PlanSizes): Promise<WordModelPlan> {
    const parts = new Parts(caller, model.layer.session);
    return parts.whole(() => WordModelPlan.compile(model, sizes, parts));
  }

  private static async compile(model: PlannedWords, sizes: PlanSizes, parts: Parts): Promise<WordModelPlan> {
    const { batch, length, backward } = sizes;
    const layer = await parts.add(model.layer.plan(sizes));
    const rows = [batch, length];
    const tensors: Tensors = {
      ...{ tokens: parts.tensor('tokens', rows, 'u32'), targets: parts.tensor('targets', rows, 'u32') },
      ...{ logits: parts.tensor('logits', [...rows, model.vocabulary]), losses: parts.tensor('losses', rows) },
      ...(backward && { dLogits: parts.tensor('dLogits', [...rows, model.vocabulary]) }),
    };
    const { embed, classify, dClassify, dEmbed } = operations(model, layer, tensors, batch);
    const sequences: Sequences = {
      embed: await parts.sequence(embed),
      classify: await parts.sequence(classify),
      ...(dClassify && { dClassify: await parts.sequence(dClassify) }),
      ...(dEmbed && { dEmbed: await parts.sequence(dEmbed) }),
    };
    return new WordModelPlan(model, batch, layer, parts, tensors, sequences);
  }

  encode(pass: GPUComputePassEncoder): void {
    this.check('encode');
    this.sequences.embed.encode(pass);
    this.layer.encode(pass);
    this.sequences.classify.encode(pass);
  }

  encodeBackward(pass: GPUComputePassEncoder): void {
    this.check('encodeBackward');
    const { dClassify, dEmbed } = this.sequences;
    if (!dClassify || !dEmbed) throw new AttentionError('option', 'encodeBackward: this plan was made without backward: true');
    dClassify.encode(pass, 'encodeBackward');
    this.layer.encodeBackward(pass);
    dEmbed.encode(pass);
  }

  async forward(tokens: Integers, targets?: Integers): Promise<WordOutput> {
    const none = { length: this.batch * this.model.length };
    this.write('forward', tokens, targets ?? Array.from(none, () => -1));
    const { session } = this.model.layer;
    const computed = session.submit('forward', this.own, (pass) => this.encode(pass));
    // The downloads are submitted at once, because the next call overwrites the results.
    const reads = [session.download(this.logits), session.download(this.losses), this.weights && session.download(this.weights)] as const;
    const [logits, losses, weights] = await Promise.all([...reads, computed] as const);
    return { logits, losses, ...(weights && { weights }) };
  }

  async train(tokens: Integers, targets: Integers, options: WordAdamOptions = {}): Promise<number> {
    const caller = 'train';
    const adam = normalizeWordAdam(caller, options);
    if (!this.sequences.dClassify) throw new AttentionError('option', `${caller}: this plan was made without backward: true`);
    this.write(caller, tokens, targets);
    const { session } = this.model.layer;
    const step = session.submit(caller, this.own, (pass) => {
      this.encode(pass);
      this.encodeBackward(pass);
      this.model.encodeUpdate(pass, adam);
    });
    const [, { data }] = await Promise.all([step, session.download(this.losses)]);
    return (data as Float32Array).reduce((sum, loss) => sum + loss, 0) / this.batch;
  }

  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.model.forget(this);
    this.parts.destroy();
  }

  private check(caller: string): void {
    this.model.check(caller);
    if (this.isDestroyed) throw new AttentionError('device-lost', `${caller}: this plan was destroyed`);
  }

  private write(caller: string, tokens: Integers, targets: Integers): void {
    this.check(caller);
    const { vocabulary, length, layer } = this.model;
    const sizes = { batch: this.batch, length };
    const check = (name: 'tokens' | 'targets', values: Integers) => checkTokens(caller, name, values, sizes, vocabulary).buffer;
    const bytes = { tokens: check('tokens', tokens), targets: check('targets', targets) };
    layer.session.pool.write(this.tokens.buffer, 0, bytes.tokens, caller);
    layer.session.pool.write(this.targets.buffer, 0, bytes.targets, caller);
  }
}

type Operations = Readonly<Record<'embed' | 'classify', Operation[]>> & Partial<Record<'dClassify' | 'dEmbed', Operation[]>>;

/** The operations before the layer (embed) and after it (classify), and those of their gradients. */
function operations(model: PlannedWords, plan: LayerPlan, tensors: Tensors, batch: number): Operations {
  const { tables, layer, vocabulary, length, one } = model;
  const { session, width } = layer;
  const alignment = session.device.limits.minStorageBufferOffsetAlignment;
  const rows = batch * length;
  const { tokens, targets, logits, losses, dLogits } = tensors;
  const { x, y, dX, dY } = plan;
  const table = (name: string, of: 'values' | 'gradients' = 'values') => tables.tensor(name, of);
  const embedded = { tokens, table: table('tokens'), positions: table('positions'), x };
  const layouts = { tokens: layoutOf(tokens), table: layoutOf(embedded.table), positions: layoutOf(embedded.positions), x: layoutOf(x) };
  const { variant, reason } = chooseRowTiles(vocabulary, basicFacts(session.device));
  const gradient = dLogits && layoutOf(dLogits);
  const lost = { logits: layoutOf(logits), targets: layoutOf(targets), losses: layoutOf(losses), gradient, divisor: batch };
  const forward: Operations = {
    embed: [{ dispatch: embeddingDispatch(layouts, alignment), reason: 'tokens and positions', tensors: embedded }],
    classify: [
      product(session, [rows, width, vocabulary], rowsOf(y), rowsOf(table('classWeights')), logits, { bias: table('classBias') }),
      {
        ...{ dispatch: crossEntropyDispatch(lost, variant, alignment), reason },
        tensors: { logits, targets, losses, ...(dLogits && { gradient: dLogits }) },
      },
    ],
  };
  if (!dLogits || !dX || !dY) return forward;
  const ones: Operand = { tensor: one, layout: dense([1]), row: 0, col: 0 }; // with strides of 0 every element is the one number
  const dClassify: Operation[] = [
    product(session, [rows, vocabulary, width], rowsOf(dLogits), transposed(rowsOf(table('classWeights'))), dY),
    product(session, [width, rows, vocabulary], transposed(rowsOf(y)), rowsOf(dLogits), table('classWeights', 'gradients')),
    product(session, [1, rows, vocabulary], ones, rowsOf(dLogits), table('classBias', 'gradients')),
  ];
  const gradients = { table: layoutOf(table('tokens', 'gradients')), positions: layoutOf(table('positions', 'gradients')) };
  const dEmbed: Operation[] = [
    {
      dispatch: embeddingBackwardDispatch({ tokens: layoutOf(tokens), dx: layoutOf(dX), ...gradients }, alignment),
      reason: 'gathers: no atomics',
      tensors: { tokens, dx: dX, gradient: tables.gradients },
    },
  ];
  return { ...forward, dClassify, dEmbed };
}
