/** Trainable parameters on one device. Values, gradients and Adam's moments are flat lists; each named matrix is a range of them. */
import { type AdamOptions, normalizeAdam } from '../contract/adam-options.ts';
import { elementCount, type GpuTensor } from '../contract/tensor.ts';
import { packParams } from '../gpu/kernel.ts';
import { checkPass } from '../gpu/native.ts';
import { getPipeline } from '../gpu/pipelines.ts';
import type { Session } from '../gpu/session.ts';
import { adam, adamDispatch, adamParams, type Range } from '../kernels/adam.ts';
import { Parts } from './sequence.ts';

/** Slots for the uniforms of updates. Each dispatch takes the next slot, so 64 dispatches can be recorded before the first is submitted. */
const SLOTS = 64;

/** A range of the parameters, and the options of Adam's step on it. */
export interface Update {
  readonly range: Range;
  readonly options: Required<AdamOptions>;
}

export class ParameterSet {
  readonly total: number;
  private step = 0;
  private nextSlot = 0;

  private constructor(
    private readonly session: Session,
    private readonly matrices: ReadonlyMap<string, { readonly first: number; readonly shape: readonly number[] }>,
    readonly values: GpuTensor,
    readonly gradients: GpuTensor,
    private readonly moments: GpuTensor,
    private readonly parts: Parts,
    private readonly uniforms: GPUBuffer,
    private readonly stride: number, // bytes from one slot of the uniforms to the next
    private readonly pipeline: GPUComputePipeline,
    private readonly groups: readonly GPUBindGroup[],
  ) {
    this.total = elementCount(values.shape);
  }

  /** @param shapes of the matrices by name, in the order in which they lie in the lists @throws AttentionError 'limit', 'compile', 'device-lost' */
  static async create(caller: string, session: Session, shapes: Readonly<Record<string, readonly number[]>>): Promise<ParameterSet> {
    const pipeline = await getPipeline(session.device, adam, {});
    const parts = new Parts(caller, session);
    return parts.whole(async () => ParameterSet.make(session, shapes, pipeline, parts));
  }

  private static make(
    session: Session,
    shapes: Readonly<Record<string, readonly number[]>>,
    pipeline: GPUComputePipeline,
    parts: Parts,
  ): ParameterSet {
    const matrices = new Map<string, { first: number; shape: readonly number[] }>();
    let total = 0;
    for (const [name, shape] of Object.entries(shapes)) {
      matrices.set(name, { first: total, shape });
      total += elementCount(shape);
    }
    const list = (name: string, ...shape: number[]) => parts.tensor(name, shape);
    const [values, gradients, moments] = [list('parameters', total), list('gradients', total), list('moments', 2, total)];
    const stride = Math.max(session.device.limits.minUniformBufferOffsetAlignment, 64);
    const uniforms = parts.uniforms(stride * SLOTS);
    const size = 4 * adamParams({ first: 0, count: 1 }, total, 1, normalizeAdam('adam')).length;
    const layout = pipeline.getBindGroupLayout(0);
    const groups = Array.from({ length: SLOTS }, (_, slot) => {
      const bound = { gradients, parameters: values, moments } as Record<string, GpuTensor>;
      const entries = adam.bindings.map(({ name }, binding) => ({
        binding,
        resource: name === 'params' ? { buffer: uniforms, offset: slot * stride, size } : { buffer: bound[name]!.buffer },
      }));
      return session.device.createBindGroup({ label: `adam ${slot}`, layout, entries });
    });
    const made = new ParameterSet(session, matrices, values, gradients, moments, parts, uniforms, stride, pipeline, groups);
    session.pool.write(gradients.buffer, 0, new ArrayBuffer(4 * total)); // zeros: an update before the first backward pass changes nothing
    made.restart();
    return made;
  }

  /** The tensors of values, gradients and moments. */
  get own(): readonly GpuTensor[] {
    return this.parts.tensors;
  }

  /** A matrix as a view of the values or of the gradients. */
  tensor(name: string, of: 'values' | 'gradients' = 'values'): GpuTensor {
    const { first, shape } = this.matrices.get(name)!;
    return { buffer: this[of].buffer, dtype: 'f32', shape, offset: 4 * first };
  }

  /** The range of the matrices from `first` to `last`, both included. */
  range(first: string, last: string): Range {
    const [from, to] = [this.matrices.get(first)!, this.matrices.get(last)!];
    return { first: from.first, count: to.first + elementCount(to.shape) - from.first };
  }

  write(name: string, data: ArrayLike<number>): void {
    this.session.pool.write(this.values.buffer, 4 * this.matrices.get(name)!.first, Float32Array.from(data).buffer, 'load');
  }

  /** Sets Adam's moments to 0. The next update counts as the first. */
  restart(): void {
    this.step = 0;
    this.session.pool.write(this.moments.buffer, 0, new ArrayBuffer(4 * elementCount(this.moments.shape)), 'load');
  }

  async read(of: 'values' | 'gradients'): Promise<ReadonlyMap<string, Float32Array>> {
    const data = (await this.session.pool.download(this[of])).data as Float32Array;
    return new Map([...this.matrices].map(([name, { first, shape }]) => [name, data.slice(first, first + elementCount(shape))]));
  }

  /** Records one step of Adam: one dispatch for each range. The uniforms are written to the queue now, not when the pass is submitted. */
  encodeUpdate(pass: GPUComputePassEncoder, parts: readonly Update[]): void {
    checkPass('encodeUpdate', pass);
    this.step++;
    pass.setPipeline(this.pipeline);
    for (const { range, options } of parts) {
      const slot = this.nextSlot;
      this.nextSlot = (slot + 1) % SLOTS;
      const { params, grid } = adamDispatch(range, this.total, this.step, options);
      this.session.pool.write(this.uniforms, slot * this.stride, packParams(params), 'encodeUpdate');
      pass.setBindGroup(0, this.groups[slot]!);
      pass.dispatchWorkgroups(...grid);
    }
  }

  destroy(): void {
    this.parts.destroy();
  }
}
