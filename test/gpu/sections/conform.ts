/** The short table of what must be right: each kind of device, type, algorithm and pass against the f64 reference. */
import { type Attention, createAttention } from '../../../src/index.ts';
import { scaledDotProductAttention } from '../../../src/reference/index.ts';
import { relativeError } from './answers.ts';
import { CASES, type Case, expectedOf, noise } from './conform-cases.ts';
import { checkLayer, checkWordModel } from './conform-training.ts';
import { openGpu } from './dawn.ts';
import { nameKernels } from './measure.ts';
import { isTiny, row, section } from './say.ts';

type DType = 'f32' | 'f16';
const FORWARD = { f32: 1e-5, f16: 2e-3 };
const BACKWARD = { f32: 5e-5, f16: 1e-2 };
const [LAYER, LOSS] = [2e-5, 1e-3];

/** One kind of device. */
interface Place {
  readonly device: string;
  readonly attention: Attention;
}

type Label = Readonly<Record<'pass' | 'dtype' | 'algorithm' | 'case', string>>;

/** A row that is right when its error is small enough. */
function check({ device, attention }: Place, label: Label, within: number, body: () => Promise<{ error: number; kernels?: string }>) {
  return row(attention.device, 'conform', { device, ...label, dtype: label.dtype as DType }, async () => {
    const found = await body();
    return { ...found, within, isRight: found.error <= within };
  });
}

async function checkCase(place: Place, one: Case, dtype: DType): Promise<void> {
  const { attention } = place;
  const { host, forward, backward } = expectedOf(one);
  const upload = (name: keyof typeof host) => attention.upload(Float32Array.from(host[name].data), host[name].shape, dtype);
  const [q, k, v, gradient] = [upload('q'), upload('k'), upload('v'), upload('gradient')];
  const { name, options } = one;
  for (const algorithm of ['fused', 'explicit'] as const)
    await check(place, { pass: 'forward', dtype, algorithm, case: name }, FORWARD[dtype], async () => {
      const plan = await attention.plan({ q, k, v, ...options, algorithm });
      const kernels = nameKernels(plan.kernels);
      plan.destroy();
      const { out } = await attention.scaledDotProductAttention(q, k, v, { ...options, algorithm });
      const error = relativeError((await attention.download(out)).data, forward.out.data);
      attention.release(out);
      return { error, kernels };
    });
  await check(place, { pass: 'backward', dtype, algorithm: '', case: name }, BACKWARD[dtype], async () => {
    const { out, lse } = await attention.scaledDotProductAttention(q, k, v, { ...options, returnLse: true });
    const made = await attention.backward(gradient, { q, k, v, out, lse: lse! }, options);
    const errors: number[] = [];
    for (const which of ['q', 'k', 'v'] as const)
      errors.push(relativeError((await attention.download(made[which])).data, backward[which].data));
    attention.release(out, lse!, made.q, made.k, made.v);
    return { error: Math.max(...errors) };
  });
  attention.release(q, k, v, gradient);
}

/** Attention over two halves of the keys, joined. */
async function checkMerge(place: Place, dtype: DType): Promise<void> {
  const { attention } = place;
  const [H, N, M, D] = [4, 9, 200, 64];
  const make = (seed: number, rows: number): Host => ({ data: noise(seed, H * rows * D), shape: [1, H, rows, D] });
  const [q, k, v] = [make(1, N), make(2, M), make(3, M)];
  const half = ({ data }: Host, part: number): Float32Array<ArrayBuffer> => {
    const size = (M / 2) * D;
    return Float32Array.from({ length: H * size }, (_, i) => data[(2 * Math.floor(i / size) + part) * size + (i % size)]!);
  };
  await check(place, { pass: 'merge', dtype, algorithm: '', case: 'two halves' }, FORWARD[dtype], async () => {
    const queries = attention.upload(q.data, q.shape, dtype);
    const attend = async (part: number) => {
      const [keys, values] = [k, v].map((tensor) => attention.upload(half(tensor, part), [1, H, M / 2, D], dtype));
      const { out, lse } = await attention.scaledDotProductAttention(queries, keys!, values!, { returnLse: true });
      return { out, lse: lse! };
    };
    const { out } = await attention.merge([await attend(0), await attend(1)]);
    return { error: relativeError((await attention.download(out)).data, scaledDotProductAttention(q, k, v).out.data) };
  });
}

interface Host {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

async function checkAll(place: Place): Promise<void> {
  const { attention } = place;
  for (const dtype of ['f32', 'f16'] as const) {
    if (dtype === 'f16' && !attention.device.features.has('shader-f16')) continue;
    for (const one of isTiny ? CASES.filter((_, i) => i % 6 === 0) : CASES) await checkCase(place, one, dtype);
    await checkMerge(place, dtype);
  }
  const training = { pass: 'training', dtype: 'f32', algorithm: '' };
  const steps = isTiny ? 3 : 40;
  await check(place, { ...training, case: 'a step of a layer' }, LAYER, async () => ({ error: await checkLayer(attention) }));
  await check(place, { ...training, case: `the loss of ${steps} steps` }, LOSS, async () => ({
    error: await checkWordModel(attention, steps),
  }));
}

await section(async () => {
  const gpu = await openGpu([], true);
  const withFeatures = async (...names: GPUFeatureName[]) => {
    const adapter = (await gpu.requestAdapter())!; // each gives one device
    return createAttention({
      device: await adapter.requestDevice({ requiredFeatures: names.filter((name) => adapter.features.has(name)) }),
    });
  };
  const places: Place[] = [
    { device: 'all features', attention: await createAttention() },
    { device: 'no subgroups', attention: await withFeatures('shader-f16') },
    { device: 'no features', attention: await withFeatures() },
  ];
  // At once: most of the time goes into compiling, which takes a core each.
  await Promise.all((isTiny ? places.slice(0, 2) : places).map(checkAll));
});
