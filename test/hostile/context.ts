/** What right arguments are made of, and what a call on them is. */
import { elementCount, rowMajor } from '../../src/contract/tensor.ts';
import {
  type Attention,
  type AttentionPlan,
  createTrainableSelfAttention,
  createWordModel,
  type GpuTensor,
  type TrainableSelfAttention,
  type WordModel,
} from '../../src/index.ts';
import { randomArray } from '../rig/random.ts';
import type { Surroundings } from './values.ts';

/** What right arguments are made of. */
export interface Context extends Surroundings {
  readonly q: GpuTensor; // [1,2,3,4]
  readonly k: GpuTensor; // [1,1,5,4]
  readonly lse: GpuTensor; // [1,2,3]
  readonly out: GpuTensor; // [1,2,3,4]
  readonly matrix: GpuTensor; // [4,4]
  readonly options: Readonly<Record<'mask' | 'keyLengths' | 'alibiSlopes' | 'sinks', GpuTensor>>;
  readonly plan: AttentionPlan; // of q, k and k
  readonly layer: TrainableSelfAttention;
  readonly model: WordModel;
}

// biome-ignore lint/suspicious/noExplicitAny: an argument of any function, changed at random
export type Anything = any;
export interface Operation {
  /** Right arguments, made anew. */
  make(context: Context): unknown[];
  /** What the function gives, as numbers and texts. */
  run(context: Context, ...args: Anything[]): unknown;
  /** What it should give; undefined: only that nothing else happens is known. */
  twin?(context: Context, ...args: Anything[]): unknown;
  /** Whether the twin takes the same arguments, so that it has to refuse them too. */
  readonly isAlike?: true;
}

export const LAYER = { width: 4, heads: 2, seed: 3 };
export const WORDS = { vocabulary: 5, length: 3, width: 4, seed: 3 };

export async function makeContext(of: Surroundings): Promise<Context> {
  const { on } = of;
  const upload = (seed: number, ...shape: number[]) => on.upload(randomArray(seed, elementCount(shape)), shape);
  const [q, k] = [upload(1, 1, 2, 3, 4), upload(2, 1, 1, 5, 4)];
  const { out, lse } = await on.scaledDotProductAttention(q, k, k, { returnLse: true });
  const options = { mask: upload(5, 3, 5), keyLengths: on.upload(Uint32Array.of(4), [1]), alibiSlopes: upload(6, 2), sinks: upload(7, 2) };
  const plan = await on.plan({ q: { shape: q.shape, dtype: 'f32' }, k, v: k });
  const [layer, model] = [await createTrainableSelfAttention(on, LAYER), await createWordModel(on, WORDS)];
  return { ...of, ...{ q, k, out, lse: lse!, matrix: upload(8, 4, 4), options, plan, layer, model } };
}

export const bare = ({ buffer, shape, dtype }: GpuTensor) => ({ buffer, shape: [...shape], dtype, offset: 0, strides: rowMajor(shape) });
export const layoutOf = ({ shape }: GpuTensor) => ({ shape: [...shape], dtype: 'f32' });
export const heads = (seed: number, ...shape: number[]) => ({ data: [...randomArray(seed, elementCount(shape))], shape });
export const rows = () => [
  [1, 2, 0.5, -1],
  [0.25, 1, -1, 2],
  [3, 0, 1, 1],
];

/** Downloads what a call gave, and gives it back. */
export async function taken(on: Attention, made: Readonly<Record<string, GpuTensor | undefined>>): Promise<Record<string, unknown>> {
  const there = Object.entries(made).filter((entry): entry is [string, GpuTensor] => entry[1] !== undefined);
  const read = await Promise.all(there.map(async ([name, tensor]) => [name, await on.download(tensor)]));
  on.release(...there.map(([, tensor]) => tensor));
  return Object.fromEntries(read);
}

/** A tensor as the reference takes it. */
export async function hostOf({ on }: Context, tensor: GpuTensor | undefined): Promise<Anything> {
  if (tensor === undefined) return undefined;
  const { data, shape } = await on.download(tensor);
  const kinds: Record<string, (values: ArrayLike<number>) => unknown> = {
    bool: (values) => Uint8Array.from(values),
    u32: (values) => Uint32Array.from(values),
  };
  return { data: kinds[tensor.dtype]?.(data) ?? data, shape };
}

/** Options with their tensors on the host. */
export async function hostOptions(context: Context, options: Anything): Promise<Anything> {
  if (options === undefined) return undefined;
  const own: PropertyDescriptorMap = { variant: { value: undefined, enumerable: true } };
  for (const name of ['mask', 'keyLengths', 'alibiSlopes', 'sinks'])
    own[name] = { value: await hostOf(context, options[name]), enumerable: true };
  return Object.create(options, own);
}
