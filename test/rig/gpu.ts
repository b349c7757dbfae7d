/** Devices for tests, and tensors whose surroundings are poisoned. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toHalf } from '../../src/contract/half.ts';
import { BYTES, elementCount, rowMajor } from '../../src/contract/tensor.ts';
import { hasten } from '../../src/gpu/device.ts';
import { type Attention, createAttention, type DType, type GpuTensor } from '../../src/index.ts';

/** The two kinds of device that suites run on: what the library asks for itself, and one with default limits and no features. */
const DEVICES = ['own device', 'default device'] as const;
type Kind = (typeof DEVICES)[number];

/** A device with default limits and no optional features. */
export async function requestDefaultDevice(): Promise<GPUDevice> {
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error('no WebGPU adapter');
  return adapter.requestDevice();
}

const shared = new Map<Kind, Promise<Attention>>();

/** The one Attention of a kind for all suites of a page: what a suite compiled, the next need not compile again. */
export function sharedAttention(kind: Kind): Promise<Attention> {
  const known = shared.get(kind);
  if (known) return known;
  const made = share(kind);
  shared.set(kind, made);
  made.catch(() => shared.delete(kind));
  return made;
}

async function share(kind: Kind): Promise<Attention> {
  const attention = await createAttention(kind === 'default device' ? { device: await requestDefaultDevice() } : {});
  void attention.lost.then(() => shared.delete(kind)); // the next suite has a new one
  return attention;
}

/** Declares a suite on both kinds of device; the Attention is there once a test runs. No device error may be left at its end. */
export function onDevices(name: string, suite: (attention: () => Attention) => void, kinds: readonly Kind[] = DEVICES): void {
  describe.each(kinds)(`${name}, %s`, (kind) => {
    let attention: Attention;
    const uncaptured: string[] = [];
    const listener = ({ error }: GPUUncapturedErrorEvent) => uncaptured.push(error.message);
    beforeAll(async () => {
      attention = await sharedAttention(kind);
      attention.device.addEventListener('uncapturederror', listener);
    });
    afterAll(async () => {
      await attention.device.queue.onSubmittedWorkDone();
      attention.device.removeEventListener('uncapturederror', listener);
      expect(uncaptured).toEqual([]);
    });
    suite(() => attention);
  });
}

/**
 * A test with an Attention of its own on the default device, an error scope around it that must be empty, and the Attention's buffers freed at its end.
 * @param hasOwnDevice where what others compiled on the device, or what the test does to it, would matter
 */
export function testWithDevice(
  name: string,
  body: (attention: Attention, device: GPUDevice) => Promise<void>,
  { hasOwnDevice = false } = {},
): void {
  test(name, async () => {
    const device = hasOwnDevice ? await requestDefaultDevice() : (await sharedAttention('default device')).device;
    const runBody = async () => {
      const attention = await createAttention({ device });
      await body(attention, device).finally(() => attention.destroy());
    };
    device.pushErrorScope('validation');
    try {
      await runBody().finally(async () => expect((await device.popErrorScope())?.message).toBeUndefined());
    } finally {
      if (hasOwnDevice) device.destroy();
    }
  });
}

const POISON = 1e3; // large but finite: shaders may assume that there are no infinities

export interface Placed {
  readonly tensor: GpuTensor;
  /** The tensor's elements, dense, after a check that nothing around them changed. */
  read(): Promise<Float32Array>;
}

interface Placement {
  readonly offset?: number; // in bytes
  readonly strides?: readonly number[];
  readonly dtype?: DType;
}

const ARRAYS = { f32: Float32Array, f16: Uint16Array, bool: Uint8Array, u32: Uint32Array };
/** f16: 1e3; booleans: attend. */
const POISONS = { f32: POISON, f16: toHalf(POISON), bool: 1, u32: POISON };

/** A tensor in a buffer of its own that is full of 1e3 (booleans: of 1) before, behind and between the tensor's elements. */
export function placeBytes(
  device: GPUDevice,
  data: ArrayLike<number> | null,
  shape: readonly number[],
  { offset = 256 + 12, strides = rowMajor(shape), dtype = 'f32' }: Placement = {},
): GpuTensor {
  const size = BYTES[dtype];
  const last = shape.reduce((sum, length, axis) => sum + (length - 1) * strides[axis]!, 0);
  const bytes = Math.ceil((offset + (last + 1) * size) / 4) * 4 + 256;
  const content = new ArrayBuffer(bytes);
  const view = new ARRAYS[dtype](content).fill(POISONS[dtype]);
  if (data)
    for (const [i, at] of elementIndices(shape, strides).entries())
      view[at + offset / size] = dtype === 'f16' ? toHalf(data[i]!) : data[i]!;
  const buffer = device.createBuffer({ size: bytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(buffer, 0, content);
  return { buffer, shape, dtype, offset, strides };
}

/**
 * `placeBytes`, and a way to read an f32 tensor back.
 * @param data dense elements; null: an output, which is all poison
 */
export function place(device: GPUDevice, data: ArrayLike<number> | null, shape: readonly number[], placement: Placement = {}): Placed {
  const tensor = placeBytes(device, data, shape, placement);
  const indices = elementIndices(shape, tensor.strides!).map((at) => at + tensor.offset! / 4);
  const read = async () => {
    const after = await readBuffer(device, tensor.buffer);
    const result = Float32Array.from(indices, (at) => after[at]!);
    for (const at of indices) after[at] = POISON;
    const changed = after.findIndex((value) => value !== POISON);
    expect(changed, `element ${changed} outside the tensor ${shape} was written`).toBe(-1);
    return result;
  };
  return { tensor, read };
}

/** Where each element of a view lies, in elements after its first, in row-major order. */
function elementIndices(shape: readonly number[], strides: readonly number[]): number[] {
  return Array.from({ length: elementCount(shape) }, (_, i) => {
    let rest = i;
    let index = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    return index;
  });
}

async function readBuffer(device: GPUDevice, buffer: GPUBuffer): Promise<Float32Array> {
  const staging = device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await hasten(device, staging.mapAsync(GPUMapMode.READ));
  const result = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return result;
}

/** Records one pass, submits it, and fails on a validation error. */
export async function runPass(device: GPUDevice, record: (pass: GPUComputePassEncoder) => void): Promise<void> {
  device.pushErrorScope('validation');
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  record(pass);
  pass.end();
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  expect(error?.message).toBeUndefined();
}
