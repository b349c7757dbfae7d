/** Programs: dispatches compiled for one device, with their pipelines and one uniform buffer. Plans and calls of single kernels encode them. */
import { AttentionError, quote } from '../contract/errors.ts';
import type { Layout } from '../contract/tensor.ts';
import type { BufferPool } from './buffers.ts';
import { type Dispatch, describeVariant, type Grid, type Param, packParams } from './kernel.ts';
import { checkPass, USAGE } from './native.ts';
import { getPipeline } from './pipelines.ts';

/** A dispatch. `resources` maps binding names of its shader to resource names, where the two differ. */
export interface Step extends Dispatch {
  readonly reason: string;
  readonly resources?: Readonly<Record<string, string>>;
}

/** Bindings by resource name. */
export type Resources = Readonly<Record<string, GPUBufferBinding | undefined>>;

/** Bytes from one absent output of a dispatch to the next: WebGPU forbids outputs that overlap. 256 is the largest alignment of an offset. */
const ABSENT_STRIDE = 256;
/** Bytes of the buffer for absent outputs. No kernel with optional outputs has more than three outputs. */
export const ABSENT_OUTPUT_BYTES = 3 * ABSENT_STRIDE;

/** The buffers to bind for tensors that are absent or have no elements. An input reads zeros. An output is written to a buffer that nobody reads. */
export interface Absent {
  readonly input: GPUBuffer;
  readonly output: GPUBuffer;
}

const KEPT = 4; // sets of bind groups that a program keeps, for callers who alternate between a few sets of buffers

/** Steps with the same key can share a program: they have the same kernels and variants. */
export const programKey = (steps: readonly Step[]): string => JSON.stringify(steps.map(({ kernel, variant }) => [kernel.name, variant]));

/** A uniform buffer with a slot for each step. Its content changes in the order of the queue. */
export class Uniforms {
  readonly buffer: GPUBuffer;
  readonly stride: number;
  private readonly written: (readonly Param[])[] = []; // by slot

  constructor(
    private readonly caller: string,
    private readonly pool: BufferPool,
    private readonly slots: number,
  ) {
    this.stride = Math.max(pool.device.limits.minUniformBufferOffsetAlignment, 256); // every kernel's uniforms are below 256 bytes
    this.buffer = pool.allocate(`${caller}: uniforms`, this.stride * slots, USAGE.UNIFORM | USAGE.COPY_DST);
  }

  /** Writes the uniforms that differ from the last ones. Commands that were submitted before still run with the last ones. */
  write(steps: readonly Step[]): void {
    if (steps.length > this.slots) throw new Error(`${this.caller}: ${steps.length} steps in uniforms for ${this.slots}`);
    for (const [i, { params }] of steps.entries()) {
      const before = this.written[i];
      if (before?.length === params.length && params.every(([, type, value], at) => before[at]![1] === type && before[at]![2] === value))
        continue;
      this.pool.write(this.buffer, i * this.stride, packParams(params));
      this.written[i] = params;
    }
  }

  destroy(): void {
    this.pool.discard(this.buffer);
  }
}

/** Compiled steps. A program with shared uniforms writes them while it records. Its commands must be submitted before another program with them records. */
export class Program {
  private readonly layouts: readonly GPUBindGroupLayout[];
  private readonly recent: { bound: readonly GPUBufferBinding[]; groups: readonly GPUBindGroup[] }[] = [];

  private constructor(
    private readonly pool: BufferPool,
    private readonly pipelines: readonly GPUComputePipeline[],
    private readonly uniforms: Uniforms,
    private readonly isShared: boolean,
  ) {
    this.layouts = pipelines.map((pipeline) => pipeline.getBindGroupLayout(0));
  }

  /**
   * @param shared uniforms that other programs use too. Default: the program makes a buffer for itself, with the steps' values
   * @throws AttentionError 'limit' when a grid has more workgroups than can be numbered, 'compile', 'out-of-memory'
   */
  static async create(caller: string, pool: BufferPool, steps: readonly Step[], shared?: Uniforms): Promise<Program> {
    const { device } = pool;
    for (const step of steps) foldGrid(caller, step, device.limits.maxComputeWorkgroupsPerDimension);
    const pipelines = await Promise.all(steps.map(({ kernel, variant }) => getPipeline(device, kernel, variant)));
    if (shared) return new Program(pool, pipelines, shared, true);
    const uniforms = new Uniforms(caller, pool, steps.length);
    uniforms.write(steps);
    try {
      await pool.allocated(caller, uniforms.buffer);
    } catch (error) {
      uniforms.destroy();
      throw error;
    }
    return new Program(pool, pipelines, uniforms, false);
  }

  /** Records the dispatches, and nothing else. `steps` are those of `create`; with shared uniforms they may be others of the same key. */
  encode(caller: string, pass: GPUComputePassEncoder, steps: readonly Step[], resources: Resources, absent: Absent): void {
    checkPass(caller, pass);
    const { maxComputeWorkgroupsPerDimension: limit } = this.pool.device.limits;
    const grids = steps.map((step) => foldGrid(caller, step, limit));
    if (this.isShared) this.uniforms.write(steps);
    const bound = steps.flatMap(({ kernel, params, resources: names }, i) => {
      let outputs = 0;
      return kernel.bindings.map(({ name, access }): GPUBufferBinding => {
        if (access === 'uniform') return { buffer: this.uniforms.buffer, offset: i * this.uniforms.stride, size: 4 * params.length };
        const given = resources[names?.[name] ?? name];
        if (given && given.size !== 0) return given;
        return access === 'read' ? { buffer: absent.input } : { buffer: absent.output, offset: ABSENT_STRIDE * outputs++, size: 16 };
      });
    });
    const groups = this.bindGroups(steps, bound);
    for (const [i, grid] of grids.entries()) {
      if (!grid.every((size) => size > 0)) continue; // nothing to compute
      pass.setPipeline(this.pipelines[i]!);
      pass.setBindGroup(0, groups[i]!);
      pass.dispatchWorkgroups(...grid);
    }
  }

  /** The steps' bind groups for these bindings. The bind groups of the last few calls are kept. */
  private bindGroups(steps: readonly Step[], bound: readonly GPUBufferBinding[]): readonly GPUBindGroup[] {
    const isSame = (a: GPUBufferBinding, b: GPUBufferBinding) => a.buffer === b.buffer && a.offset === b.offset && a.size === b.size;
    const known = this.recent.find((entry) => entry.bound.every((binding, i) => isSame(binding, bound[i]!)));
    if (known) return known.groups;
    let first = 0;
    const groups = steps.map(({ kernel, variant }, i) => {
      const entries = kernel.bindings.map((_, binding) => ({ binding, resource: bound[first + binding]! }));
      first += entries.length;
      return this.pool.device.createBindGroup({ label: `${kernel.name} ${describeVariant(variant)}`, layout: this.layouts[i]!, entries });
    });
    this.recent.unshift({ bound, groups });
    this.recent.length = Math.min(this.recent.length, KEPT);
    return groups;
  }

  destroy(): void {
    this.recent.length = 0;
    if (!this.isShared) this.uniforms.destroy();
  }
}

/**
 * Folds a grid with a dimension longer than `limit` into one that the device can dispatch. Other grids stay. Workgroup (x, y, z) of the folded grid
 * X × Y × Z has the number x + X · (y + Y · z) in the long grid. Numbers beyond the long grid's end have no work.
 * @throws AttentionError 'limit' when there are more workgroups than 32 bits can number
 */
export function foldGrid(caller: string, { kernel, grid }: Dispatch, limit: number): Grid {
  const count = grid[0] * grid[1] * grid[2];
  if (count === 0 || grid.every((size) => size <= limit)) return grid;
  const z = Math.ceil(count / limit ** 2);
  const y = Math.ceil(count / (z * limit));
  const x = Math.ceil(count / (z * y)); // so that few workgroups are left without work
  if (x * y * z >= 2 ** 32 || z > limit)
    throw new AttentionError('limit', `${caller}: ${kernel.name} needs ${grid.join(' × ')} workgroups: at most 2^32 can be numbered`);
  return [x, y, z];
}

/** The binding of a tensor. It starts at the last multiple of the alignment up to the tensor's offset. Size 0 marks a tensor without elements as absent. */
export function bindingOf(buffer: GPUBuffer, { offset, bytes }: Layout, alignment: number): Required<GPUBufferBinding> {
  const rest = offset % alignment;
  return { buffer, offset: offset - rest, size: bytes === 0 ? 0 : rest + bytes };
}

/** Checks that a tensor fits one storage binding. @throws AttentionError 'limit' */
export function checkBinding(what: string, layout: Layout, limits: GPUSupportedLimits): void {
  const bytes = (layout.offset % limits.minStorageBufferOffsetAlignment) + layout.bytes;
  const max = limits.maxStorageBufferBindingSize;
  if (bytes > max)
    throw new AttentionError(
      'limit',
      `${what} ${quote(layout.shape)} needs ${bytes} bytes: maxStorageBufferBindingSize of this device is ${max}`,
    );
}
