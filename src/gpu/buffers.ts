/** The GPU buffers of one Attention: uploads, downloads, and a pool that reuses released buffers. */
import { AttentionError, quote, withinMemory } from '../contract/errors.ts';
import { GENERATION } from '../contract/gpu-tensor.ts';
import type { HostData } from '../contract/host-array.ts';
import { gather, toBytes } from '../contract/host-data.ts';
import {
  byteLength,
  checkDType,
  checkLayout,
  type DType,
  describeLayout,
  elementCount,
  type GpuTensor,
  type HostTensor,
  type Layout,
  readShape,
  sameLayout,
} from '../contract/tensor.ts';
import { destroyQuietly, hasten, type Lifeline, popErrorScope } from './device.ts';
import { isNative, MAP_READ, USAGE } from './native.ts';

const POOL_BUFFERS = 32; // the most released buffers that a pool keeps
const POOL_BYTES = 2 ** 28; // the most bytes of released buffers that a pool keeps
const MOST_REPEATED = 2 ** 28; // elements of a download whose strides are 0, so that it is larger than its buffer

interface Allocation {
  readonly buffer: GPUBuffer;
  readonly size: number;
  readonly usage: GPUBufferUsageFlags;
  generation: number; // a new number each time that the pool hands the buffer out
  issued?: Layout | undefined; // layout of the tensor that a caller has and may release; undefined for the library's own tensors
  error?: string; // why the device could not allocate the buffer, once that is known
}

/** The pool that made a buffer. Tensors of another Attention have another pool; callers' own buffers have none. */
const owners = /* @__PURE__ */ new WeakMap<GPUBuffer, BufferPool>();

export class BufferPool {
  readonly device: GPUDevice;
  private readonly live = new Map<GPUBuffer, Allocation>();
  private readonly free: Allocation[] = []; // the least recently used first
  private generations = 0;
  private readonly unsettled = new Set<Promise<unknown>>();
  private readonly needed: GPUBuffer[] = []; // buffers that every call uses

  constructor(private readonly lifeline: Lifeline) {
    this.device = lifeline.device;
  }

  upload(data: HostData, shape?: readonly number[], dtype?: DType): GpuTensor {
    if (dtype !== undefined) checkDType('upload: dtype', dtype);
    const host = withinMemory('upload', () => toBytes(data, shape, dtype));
    const tensor = this.tensor('upload', host.shape, host.dtype);
    this.write(tensor.buffer, 0, host.bytes, 'upload');
    return tensor;
  }

  async download(tensor: GpuTensor): Promise<HostTensor> {
    const what = 'download: tensor';
    const layout = checkLayout(what, tensor, 'input');
    this.check(what, tensor, layout, 'COPY_SRC');
    if (elementCount(layout.shape) > Math.max(tensor.buffer.size, MOST_REPEATED))
      throw new AttentionError('limit', `${what} is ${describeLayout(layout)}: at most ${MOST_REPEATED} elements where they repeat`);
    if (layout.bytes === 0) return { data: gather(new ArrayBuffer(0), layout), shape: layout.shape };
    return this.lifeline.wait('download', this.read(what, tensor, layout));
  }

  private async read(what: string, tensor: GpuTensor, layout: Layout): Promise<HostTensor> {
    const staging = this.allocate(what, layout.bytes, USAGE.MAP_READ | USAGE.COPY_DST);
    try {
      await this.submit('download', [tensor, { ...tensor, buffer: staging }], (encoder) =>
        encoder.copyBufferToBuffer(tensor.buffer, layout.offset, staging, 0, layout.bytes),
      );
      this.lifeline.check('download'); // the staging buffer is destroyed with the pool
      await this.lifeline.wait('download', hasten(this.device, staging.mapAsync(MAP_READ, 0, layout.bytes)));
      return { data: gather(staging.getMappedRange(0, layout.bytes), layout), shape: layout.shape };
    } catch (error) {
      if (error instanceof RangeError)
        throw new AttentionError('out-of-memory', `${what} ${quote(layout.shape)}: ${error.message}`, { cause: error });
      throw error;
    } finally {
      this.unmap(staging);
    }
  }

  /** Unmaps a staging buffer and takes it back. On a lost device unmapping may throw; the buffer is then discarded. */
  private unmap(staging: GPUBuffer): void {
    try {
      staging.unmap();
    } catch (error) {
      this.discard(staging);
      throw error;
    }
    this.recycle(staging);
  }

  /** A dense tensor with undefined content, for a caller who may release it. `what` opens the error messages. */
  tensor(what: string, shape: readonly number[], dtype?: DType): GpuTensor {
    const tensor = this.kept(what, shape, dtype);
    this.live.get(tensor.buffer)!.issued = checkLayout(what, tensor, 'output');
    return tensor;
  }

  /** A dense tensor with undefined content, for the library's own use. Callers cannot release it: only `recycle` takes its buffer back. */
  kept(what: string, given: readonly number[], dtype: DType = 'f32'): GpuTensor {
    const shape = readShape(`${what}: shape`, given);
    checkDType(`${what}: dtype`, dtype);
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
    const buffer = this.allocate(`${what}: ${quote(shape)}`, byteLength(shape, dtype), usage);
    const made = { buffer, shape, dtype, [GENERATION]: this.live.get(buffer)!.generation };
    return made;
  }

  /** A buffer of at least `bytes` with undefined content. */
  allocate(what: string, bytes: number, usage: GPUBufferUsageFlags): GPUBuffer {
    this.lifeline.check(what);
    const { maxBufferSize } = this.device.limits;
    if (bytes > maxBufferSize)
      throw new AttentionError('limit', `${what} needs ${bytes} bytes: maxBufferSize of this device is ${maxBufferSize}`);
    const size = Math.min(roundUp(bytes), maxBufferSize - (maxBufferSize % 4));
    const index = this.free.findLastIndex((allocation) => allocation.size === size && allocation.usage === usage);
    const allocation = index >= 0 ? this.free.splice(index, 1)[0]! : this.lifeline.now(what, () => this.create(size, usage));
    allocation.generation = ++this.generations;
    allocation.issued = undefined;
    this.live.set(allocation.buffer, allocation);
    return allocation.buffer;
  }

  /** Declares buffers that every call uses. From now on `submit` throws 'out-of-memory' where the device could not allocate one of them. */
  need(...buffers: GPUBuffer[]): void {
    this.needed.push(...buffers);
  }

  /** Waits until pending allocations have succeeded or failed. @throws AttentionError 'out-of-memory' when this buffer's has failed */
  async allocated(caller: string, buffer: GPUBuffer): Promise<void> {
    if (this.unsettled.size > 0) await this.lifeline.wait(caller, Promise.all(this.unsettled));
    this.checkAllocated(caller, buffer);
  }

  private create(size: number, usage: GPUBufferUsageFlags): Allocation {
    this.device.pushErrorScope('out-of-memory');
    this.device.pushErrorScope('validation');
    const buffer = this.device.createBuffer({ label: `attention ${size} bytes`, size, usage });
    const scopes = Promise.all([popErrorScope(this.device), popErrorScope(this.device)]);
    const allocation: Allocation = { buffer, size, usage, generation: 0 };
    const settled: Promise<void> = scopes
      .then((errors) => {
        const error = errors.find((found) => found !== null);
        if (error) allocation.error = error.message;
      })
      .catch(() => {}) // the device is lost, which every call reports
      .finally(() => this.unsettled.delete(settled));
    this.unsettled.add(settled);
    owners.set(buffer, this);
    return allocation;
  }

  /** Like `lifeline.submit`. Also throws 'out-of-memory' when the buffer of a tensor, or one that every call uses, could not be allocated. */
  async submit(caller: string, tensors: Iterable<GpuTensor>, record: (encoder: GPUCommandEncoder) => void): Promise<void> {
    try {
      await this.lifeline.submit(caller, record);
    } finally {
      if (this.unsettled.size > 0) await this.lifeline.wait(caller, Promise.all(this.unsettled));
      for (const { buffer, shape } of tensors) this.checkAllocated(caller, buffer, shape);
      for (const buffer of this.needed) this.checkAllocated(caller, buffer);
    }
  }

  /** Takes a buffer back into the pool. Commands that were submitted before still run on it before its next use, in the queue's order. */
  recycle(buffer: GPUBuffer): void {
    const allocation = this.live.get(buffer);
    if (!allocation) return;
    this.live.delete(buffer);
    if (allocation.error !== undefined) return;
    if (allocation.size > POOL_BYTES) {
      destroyQuietly(buffer);
      return;
    }
    this.free.push(allocation);
    let bytes = this.free.reduce((sum, { size }) => sum + size, 0);
    while (this.free.length > POOL_BUFFERS || bytes > POOL_BYTES) {
      const oldest = this.free.shift()!;
      destroyQuietly(oldest.buffer);
      bytes -= oldest.size;
    }
  }

  /** Destroys a buffer that recorded commands may still use. To submit such commands is then an error, not a wrong result. */
  discard(buffer: GPUBuffer): void {
    this.live.delete(buffer);
    destroyQuietly(buffer);
  }

  /** Takes tensors back. When one of them cannot be released, none is. A tensor is identified by its buffer and layout: a copy stands for the same tensor. */
  release(tensors: readonly GpuTensor[]): void {
    const buffers = new Set<GPUBuffer>();
    for (const tensor of tensors) {
      const what = 'release: tensor';
      const layout = checkLayout(what, tensor, 'input');
      this.check(what, tensor, layout);
      const allocation = this.live.get(tensor.buffer);
      const described = `${what} ${describeLayout(layout)}`;
      if (!allocation) throw new AttentionError('option', `${described} lies in a buffer that this Attention did not make`);
      const { issued } = allocation;
      if (!issued) throw new AttentionError('option', `${described} belongs to a plan, a layer or a model: destroy that instead`);
      if (!sameLayout(layout, issued, Number.POSITIVE_INFINITY))
        throw new AttentionError('option', `${described} is a view of ${describeLayout(issued)}: release the tensor that it is a view of`);
      if (buffers.has(tensor.buffer)) throw new AttentionError('option', `${described} is given twice: need each tensor once`);
      buffers.add(tensor.buffer);
    }
    for (const buffer of buffers) this.recycle(buffer);
  }

  /** Writes to a buffer. If the device could not allocate the buffer, the write has no effect, and the call that uses the buffer throws. */
  write(buffer: GPUBuffer, offset: number, bytes: ArrayBuffer | Uint8Array<ArrayBuffer>, caller = 'a pending call'): void {
    this.lifeline.now(caller, () => {
      this.device.pushErrorScope('validation');
      this.device.queue.writeBuffer(buffer, offset, bytes);
    });
    void popErrorScope(this.device);
  }

  /**
   * Checks that a tensor's buffer can be used here. It must be a GPUBuffer, hold the tensor and have the usage. It must not be released, or belong to
   * another Attention, or have failed to be allocated.
   * @throws AttentionError 'option', 'shape' or 'out-of-memory'
   */
  check(what: string, tensor: GpuTensor, layout: Layout, usage?: 'STORAGE' | 'COPY_SRC'): void {
    const { buffer } = tensor;
    if (!isNative(buffer, 'GPUBuffer')) {
      throw new AttentionError('option', `${what}.buffer is ${quote(buffer)}: need a GPUBuffer, and not a proxy of one`);
    }
    const owner = owners.get(buffer);
    if (owner !== undefined && owner !== this)
      throw new AttentionError('option', `${what} ${quote(layout.shape)} belongs to another Attention`);
    const { [GENERATION]: generation } = tensor as { [GENERATION]?: number };
    const current = this.live.get(buffer)?.generation;
    if (owner === this && (current === undefined || (generation ?? current) !== current)) {
      throw new AttentionError('option', `${what} ${quote(layout.shape)} was released before`);
    }
    this.checkAllocated(what, buffer, tensor.shape);
    if (layout.offset + layout.bytes > buffer.size) {
      throw new AttentionError(
        'shape',
        `${what} ends at byte ${layout.offset + layout.bytes}, its buffer has ${buffer.size}: need a buffer that holds the view`,
      );
    }
    if (usage !== undefined && (buffer.usage & USAGE[usage]) === 0) {
      throw new AttentionError('option', `${what}.buffer has usage 0x${buffer.usage.toString(16)}: need GPUBufferUsage.${usage}`);
    }
  }

  private checkAllocated(what: string, buffer: GPUBuffer, shape?: readonly number[]): void {
    const allocation = this.live.get(buffer);
    if (allocation?.error === undefined) return;
    const use = shape ? quote(shape) : 'the library itself';
    throw new AttentionError('out-of-memory', `${what}: ${allocation.size} bytes for ${use} could not be allocated: ${allocation.error}`);
  }

  destroy(): void {
    for (const { buffer } of [...this.live.values(), ...this.free]) destroyQuietly(buffer);
    this.live.clear();
    this.free.length = 0;
  }
}

/**
 * Rounds up to a size that a pool can reuse. Up to 64 KiB it is a power of 2, at least 256 bytes. Above, it is a multiple of an eighth of the power of 2
 * below, so that at most 1/8 is wasted.
 */
function roundUp(bytes: number): number {
  const power = 2 ** Math.ceil(Math.log2(Math.max(bytes, 256)));
  if (power <= 65536) return power;
  const step = power / 16;
  return Math.ceil(bytes / step) * step;
}
