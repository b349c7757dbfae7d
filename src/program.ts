/** Dispatches compiled for one device: their pipelines and one uniform buffer. What a plan, or a single kernel's call, encodes. */
import type { BufferPool } from './buffers.ts';
import { AttentionError, quote } from './errors.ts';
import { type Dispatch, describeVariant, packParams } from './kernels/kernel.ts';
import { getPipeline } from './pipelines.ts';
import type { Layout } from './tensor.ts';

/** A dispatch, and the resources that its shader's bindings stand for where the names differ. */
export interface Step extends Dispatch {
  readonly reason: string;
  readonly resources?: Readonly<Record<string, string>>;
}

/** What to bind, by resource name. */
export type Resources = Readonly<Record<string, GPUBufferBinding | undefined>>;

/** Bytes from one absent output of a dispatch to the next, which WebGPU forbids to share a place; 256 is the largest alignment of an offset. */
const ABSENT_STRIDE = 256;
/** Bytes of the buffer for absent outputs: no kernel that may lack one writes more than three. */
export const ABSENT_OUTPUT_BYTES = 3 * ABSENT_STRIDE;

/** What is bound for a tensor that is absent, or has no elements: zeros for an input; for an output a buffer that nobody reads. */
export interface Absent {
  readonly input: GPUBuffer;
  readonly output: GPUBuffer;
}

const KEPT = 4; // sets of bind groups a program keeps: the buffers of a caller who alternates between a few

export class Program {
  private readonly layouts: readonly GPUBindGroupLayout[];
  private readonly recent: { bound: readonly GPUBufferBinding[]; groups: readonly GPUBindGroup[] }[] = [];

  private constructor(
    private readonly pool: BufferPool,
    readonly steps: readonly Step[],
    private readonly pipelines: readonly GPUComputePipeline[],
    private readonly uniforms: GPUBuffer,
    private readonly uniformStride: number,
  ) {
    this.layouts = pipelines.map((pipeline) => pipeline.getBindGroupLayout(0));
  }

  /** @throws AttentionError 'limit' when a grid is larger than the device can dispatch, 'compile' */
  static async create(caller: string, pool: BufferPool, steps: readonly Step[]): Promise<Program> {
    const { device } = pool;
    for (const step of steps) checkGrid(caller, step, device.limits.maxComputeWorkgroupsPerDimension);
    const pipelines = await Promise.all(steps.map(({ kernel, variant }) => getPipeline(device, kernel, variant)));
    const stride = Math.max(device.limits.minUniformBufferOffsetAlignment, 256); // every kernel's uniforms are below 256 bytes
    const uniforms = pool.allocate(`${caller}: uniforms`, stride * steps.length, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
    for (const [i, { params }] of steps.entries()) pool.write(uniforms, i * stride, packParams(params));
    return new Program(pool, steps, pipelines, uniforms, stride);
  }

  /** Records the dispatches: nothing else. */
  encode(pass: GPUComputePassEncoder, resources: Resources, absent: Absent): void {
    const bound = this.steps.flatMap(({ kernel, params, resources: names }, i) => {
      let outputs = 0;
      return kernel.bindings.map(({ name, access }): GPUBufferBinding => {
        if (access === 'uniform') return { buffer: this.uniforms, offset: i * this.uniformStride, size: 4 * params.length };
        const given = resources[names?.[name] ?? name];
        if (given && given.size !== 0) return given;
        return access === 'read' ? { buffer: absent.input } : { buffer: absent.output, offset: ABSENT_STRIDE * outputs++, size: 16 };
      });
    });
    const groups = this.bindGroups(bound);
    for (const [i, { grid }] of this.steps.entries()) {
      if (!grid.every((size) => size > 0)) continue; // nothing to compute
      pass.setPipeline(this.pipelines[i]!);
      pass.setBindGroup(0, groups[i]!);
      pass.dispatchWorkgroups(...grid);
    }
  }

  /** The steps' bind groups for these bindings: those of the last few calls are kept. */
  private bindGroups(bound: readonly GPUBufferBinding[]): readonly GPUBindGroup[] {
    const isSame = (a: GPUBufferBinding, b: GPUBufferBinding) => a.buffer === b.buffer && a.offset === b.offset && a.size === b.size;
    const known = this.recent.find((entry) => entry.bound.every((binding, i) => isSame(binding, bound[i]!)));
    if (known) return known.groups;
    let first = 0;
    const groups = this.steps.map(({ kernel, variant }, i) => {
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
    this.pool.discard(this.uniforms);
  }
}

function checkGrid(caller: string, { kernel, grid }: Dispatch, limit: number): void {
  const axis = grid.findIndex((size) => size > limit);
  if (axis < 0) return;
  throw new AttentionError(
    'limit',
    `${caller}: ${kernel.name} needs ${grid[axis]} workgroups in ${'xyz'[axis]}, this device can dispatch ${limit}: split the problem`,
  );
}

/** Where a tensor is bound: at the multiple of the alignment below its offset. One without elements has size 0, and is bound as one that is absent. */
export function bindingOf(buffer: GPUBuffer, { offset, bytes }: Layout, alignment: number): Required<GPUBufferBinding> {
  const rest = offset % alignment;
  return { buffer, offset: offset - rest, size: bytes === 0 ? 0 : rest + bytes };
}

/** Throws unless a tensor fits one storage binding. */
export function checkBinding(what: string, layout: Layout, limits: GPUSupportedLimits): void {
  const bytes = (layout.offset % limits.minStorageBufferOffsetAlignment) + layout.bytes;
  const max = limits.maxStorageBufferBindingSize;
  if (bytes > max)
    throw new AttentionError(
      'limit',
      `${what} ${quote(layout.shape)} needs ${bytes} bytes: maxStorageBufferBindingSize of this device is ${max}`,
    );
}
