/** One problem: compiled, checked against f64, timed. */
import type { Attention, AttentionOptions, AttentionPlan, GpuTensor } from '../../../src/index.ts';
import { createAttention } from '../../../src/index.ts';
import type { Peaks, Shape } from '../records.ts';
import { errorOf, sumsError, TOLERANCE } from './answers.ts';
import { Clock } from './clock.ts';
import { measurePeaks } from './peaks.ts';
import { bandOf, bytesOf, flopsOf, shapeOf, upload } from './shapes.ts';
import { SHOWN } from './variants.ts';

interface Inputs {
  readonly q: GpuTensor;
  readonly k: GpuTensor;
  readonly v: GpuTensor;
  readonly gradient?: GpuTensor;
}

export interface Wish {
  readonly options?: AttentionOptions;
  readonly sets?: number; // of inputs, taken in turn
  readonly budget?: number; // milliseconds: see Clock.measure
}

/** What a section measures with. The inputs of the last shape are kept until another comes. */
export class Bench {
  private key = '';
  private inputs: Inputs[] = [];

  constructor(
    readonly attention: Attention,
    readonly clock: Clock,
    readonly peaks: Peaks,
  ) {}

  static async open(): Promise<Bench> {
    const attention = await createAttention();
    const clock = new Clock(attention.device);
    return new Bench(attention, clock, await measurePeaks(attention.device, clock));
  }

  get device(): GPUDevice {
    return this.attention.device;
  }

  /** f16 only where the device has it. */
  get dtypes(): Shape['dtype'][] {
    return this.device.features.has('shader-f16') ? ['f32', 'f16'] : ['f32'];
  }

  inputsOf(shape: Shape, sets = 1, hasGradient = false): readonly Inputs[] {
    const key = JSON.stringify([{ ...shape, causal: false }, sets, hasGradient]);
    if (key === this.key) return this.inputs;
    this.release();
    const { attention } = this;
    for (let set = 0; set < sets; set++) {
      const put = (name: 'q' | 'k' | 'v' | 'gradient') => upload(attention, name, shape, set);
      this.inputs.push({ q: put('q'), k: put('k'), v: put('v'), ...(hasGradient && { gradient: put('gradient') }) });
    }
    this.key = key;
    return this.inputs;
  }

  release(): void {
    for (const set of this.inputs) this.attention.release(...Object.values(set));
    this.inputs = [];
    this.key = '';
  }
}

/** A plan's kernels, with the parts of their variants that tell them apart. */
export const nameKernels = (kernels: AttentionPlan['kernels']): string =>
  kernels
    .map(({ name, variant }) => [name, ...SHOWN.filter((part) => part in variant).map((part) => `${part}=${variant[part]}`)].join(' '))
    .join(' + ');

function ratesOf({ peaks }: Bench, shape: Shape, ms: number, products: number) {
  const [tflops, gbps] = [flopsOf(shape, products) / ms / 1e9, bytesOf(shape) / ms / 1e6];
  return { tflops, ofFma: tflops / peaks.fma, gbps, ofCopy: gbps / peaks.copy };
}

const patienceOf = ({ budget }: Wish) => (budget === undefined ? {} : { budget });

/** Forward. */
export async function forward(bench: Bench, shape: Shape, wish: Wish = {}) {
  const { attention, clock } = bench;
  const sets = bench.inputsOf(shape, wish.sets);
  const begin = performance.now();
  const plan = await attention.plan({ ...sets[0]!, ...bandOf(shape), ...wish.options });
  const compile = performance.now() - begin;
  const out = attention.empty(shapeOf('q', shape), shape.dtype);
  const scratch = plan.workspaceBytes > 0 ? [attention.empty([plan.workspaceBytes / 4])] : [];
  const workspace = scratch[0] && { workspace: scratch[0].buffer };
  try {
    const record = (pass: GPUComputePassEncoder, call: number) => plan.encode(pass, { ...sets[call % sets.length]!, out, ...workspace });
    await clock.once(record, 1); // of the first set
    const error = await errorOf(attention, shape, out);
    const time = await clock.measure(record, patienceOf(wish));
    const isRight = error <= TOLERANCE[shape.dtype];
    const kernels = nameKernels(plan.kernels);
    return { ...time, ...ratesOf(bench, shape, time.ms, 2), error, isRight, compile, kernels, reason: plan.kernels[0]!.reason };
  } finally {
    attention.release(out, ...scratch);
    plan.destroy();
  }
}

/** Forward and backward together, and the backward pass alone. */
export async function gradients(bench: Bench, shape: Shape, wish: Wish = {}) {
  const { attention, clock } = bench;
  const { q, k, v, gradient } = bench.inputsOf(shape, 1, true)[0] as Required<Inputs>;
  const begin = performance.now();
  const plan = await attention.plan({ q, k, v, ...bandOf(shape), ...wish.options, backward: true });
  const compile = performance.now() - begin;
  const like = (name: 'q' | 'k' | 'v') => attention.empty(shapeOf(name, shape), shape.dtype);
  const made = { out: like('q'), dq: like('q'), dk: like('k'), dv: like('v'), lse: attention.empty([1, shape.H, shape.N]) };
  const { out, dq, dk, dv, lse } = made;
  const scratch = plan.workspaceBytes > 0 ? [attention.empty([plan.workspaceBytes / 4])] : [];
  const tensors = { q, k, v, out, lse, ...(scratch[0] && { workspace: scratch[0].buffer }) };
  try {
    const back = (pass: GPUComputePassEncoder) => plan.encodeBackward(pass, { ...tensors, gradient, dq, dk, dv });
    const both = (pass: GPUComputePassEncoder) => {
      plan.encode(pass, tensors);
      back(pass);
    };
    await clock.once(both, 1);
    const error = Math.max(await errorOf(attention, shape, dq, 'dq'), await errorOf(attention, shape, out));
    const sums = await sumsError(attention, shape, { q, k, gradient, dq, dk, dv });
    const time = await clock.measure(both, patienceOf(wish));
    const alone = await clock.measure(back, patienceOf(wish));
    const isRight = error <= 3 * TOLERANCE[shape.dtype] && sums <= 10 * TOLERANCE[shape.dtype];
    const backward = { backward: alone.ms, backwardTflops: flopsOf(shape, 5) / alone.ms / 1e9 };
    return {
      ...time,
      ...ratesOf(bench, shape, time.ms, 7),
      ...backward,
      error,
      sums,
      isRight,
      compile,
      kernels: nameKernels(plan.kernels),
    };
  } finally {
    attention.release(...Object.values(made), ...scratch);
    plan.destroy();
  }
}
