/** What lives how long: buffers, plans, devices. */
import { describe, expect, test } from 'vitest';
import { getPipeline } from '../../src/gpu/pipelines.ts';
import { type Attention, AttentionError, createAttention, selfAttention } from '../../src/index.ts';
import { watchBuffers } from '../rig/counting.ts';
import { requestDefaultDevice, testWithDevice } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { expectNear } from '../rig/tolerance.ts';

const lost = expect.objectContaining({ name: 'AttentionError', code: 'device-lost' });
const input = (on: Attention, length: number) => on.upload(randomArray(length, 2 * length * 8), [1, 2, length, 8]);

describe('buffers', () => {
  test('2,000 calls, each result released, leave no more buffers than 20', async () => {
    const device = await requestDefaultDevice();
    const live = watchBuffers(device);
    const attention = await createAttention({ device });
    const attendAndRelease = async (i: number) => {
      const length = 1 + (i % 20);
      const made = [input(attention, length), input(attention, length), input(attention, length)] as const;
      const { out, lse } = await attention.scaledDotProductAttention(...made, { returnLse: true });
      if (i % 20 === 0) await attention.download(out);
      attention.release(...made, out, lse!);
    };
    for (let i = 0; i < 20; i++) await attendAndRelease(i);
    const after20 = live();
    for (let i = 20; i < 2000; i++) await attendAndRelease(i);
    expect(live()).toBeLessThanOrEqual(after20);
    attention.destroy();
    expect(live()).toBe(0);
    device.destroy();
  });

  testWithDevice('a released buffer is used again', async (attention) => {
    const first = attention.empty([10, 10]);
    attention.release(first);
    expect(attention.empty([10, 10]).buffer).toBe(first.buffer);
  });

  testWithDevice('a buffer released right after a call keeps the call’s result right', async (attention) => {
    const q = input(attention, 9);
    const { out } = await attention.scaledDotProductAttention(q, q, q);
    attention.release(q);
    const overwritten = attention.upload(new Float32Array(2 * 9 * 8).fill(1e3), [1, 2, 9, 8]);
    expect(overwritten.buffer).toBe(q.buffer);
    const { data } = await attention.download(out);
    expectNear('out, of values from −1 to 1,', data, new Float32Array(2 * 9 * 8), 1);
  });

  const failingCalls = async (attention: Attention, device: GPUDevice) => {
    const q = input(attention, 9);
    const foreign = await requestDefaultDevice();
    const theirs = { ...q, buffer: foreign.createBuffer({ size: 1024, usage: GPUBufferUsage.STORAGE }) };
    const live = watchBuffers(device);
    for (let i = 0; i < 40; i++)
      await expect(attention.scaledDotProductAttention(q, theirs, q)).rejects.toThrow(expect.objectContaining({ code: 'option' }));
    expect(live()).toBeLessThan(8);
    foreign.destroy();
  };
  testWithDevice('a failed call gives its buffers back', failingCalls, { hasOwnDevice: true });

  testWithDevice('upload and download keep every dtype, and views are gathered', async (attention) => {
    const floats = attention.upload([1.5, -2, 3, 4, 5, 6], [2, 3]);
    expect(await attention.download(floats)).toEqual({ data: Float32Array.of(1.5, -2, 3, 4, 5, 6), shape: [2, 3] });
    expect((await attention.download({ ...floats, shape: [3, 2], strides: [1, 3], offset: 0 }).catch((error) => error)).code).toBe('shape'); // the last stride must be 1
    expect((await attention.download({ ...floats, shape: [2, 2], strides: [3, 1], offset: 4 })).data).toEqual(Float32Array.of(-2, 3, 5, 6));
    expect((await attention.download({ ...floats, shape: [3, 2], strides: [0, 1] })).data).toEqual(
      Float32Array.of(1.5, -2, 1.5, -2, 1.5, -2),
    );
    const bools = attention.upload(Uint8Array.of(1, 0, 7, 0, 1), [5]);
    expect((await attention.download(bools)).data).toEqual(Float32Array.of(1, 0, 1, 0, 1));
    const integers = attention.upload(Uint32Array.of(0, 4294967295), [2]);
    expect((await attention.download(integers)).data).toEqual(Float64Array.of(0, 4294967295));
    const doubles = attention.upload(Float64Array.of(0.1, 1e-50), [2]);
    expect((await attention.download(doubles)).data).toEqual(Float32Array.of(0.1, 0));
    expect((await attention.download(attention.empty([3, 3]))).shape).toEqual([3, 3]);
  });

  testWithDevice('many calls at once, more shapes than plans are kept', async (attention) => {
    const tensors = Array.from({ length: 24 }, (_, i) => input(attention, i + 1));
    const all = await Promise.all(tensors.map((tensor) => attention.scaledDotProductAttention(tensor, tensor, tensor)));
    for (const [i, { out }] of all.entries()) {
      const again = await attention.scaledDotProductAttention(tensors[i]!, tensors[i]!, tensors[i]!);
      expect((await attention.download(out)).data).toEqual((await attention.download(again.out)).data);
    }
  });
});

describe('memory that cannot be allocated', () => {
  test('memory that cannot be allocated is an error of its own, and the next call works', async () => {
    const device = await requestDefaultDevice();
    const uncaptured: string[] = [];
    device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
    const attention = await createAttention({ device });
    const create = device.createBuffer.bind(device);
    device.createBuffer = (descriptor) => {
      device.createBuffer = create;
      return create({ ...descriptor, size: 2 ** 50 }); // more than any device has: its buffer is an invalid one, as when memory is exhausted
    };
    const broken = attention.upload([1, 2, 3, 4], [4]);
    await expect(attention.download(broken)).rejects.toThrow(expect.objectContaining({ code: 'out-of-memory' }));
    expect((await attention.download(attention.upload([1], [1]))).data).toEqual(Float32Array.of(1));
    expect(uncaptured).toEqual([]);
    attention.destroy();
    device.destroy();
  });

  test('a buffer of the library’s own that cannot be allocated is that error too, for calls and for plans', async () => {
    const device = await requestDefaultDevice();
    const uncaptured: string[] = [];
    device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
    const create = device.createBuffer.bind(device);
    const breakUniforms = (descriptor: GPUBufferDescriptor) =>
      create(descriptor.usage & GPUBufferUsage.UNIFORM ? { ...descriptor, size: 2 ** 50 } : descriptor);
    const outOfMemory = expect.objectContaining({ code: 'out-of-memory', message: expect.stringContaining('the library itself') });
    device.createBuffer = breakUniforms;
    const broken = await createAttention({ device });
    device.createBuffer = create;
    const [q, k, v] = [input(broken, 4), input(broken, 4), input(broken, 4)];
    await expect(broken.scaledDotProductAttention(q, k, v)).rejects.toThrow(outOfMemory);
    broken.destroy();

    const attention = await createAttention({ device });
    const tensors = { q: input(attention, 4), k: input(attention, 4), v: input(attention, 4) };
    device.createBuffer = breakUniforms;
    await expect(attention.plan(tensors)).rejects.toThrow(outOfMemory);
    device.createBuffer = create;
    const plan = await attention.plan(tensors);
    plan.destroy();
    expect(uncaptured).toEqual([]);
    attention.destroy();
    device.destroy();
  });
});

describe('the end of a device', () => {
  test('destroy: every later call fails, and a device of its own is lost', async () => {
    const attention = await createAttention();
    const q = input(attention, 4);
    const plan = await attention.plan({ q, k: q, v: q });
    attention.destroy();
    attention.destroy();
    expect((await attention.lost).reason).toBe('destroyed');
    expect(() => attention.upload([1], [1])).toThrow(lost);
    expect(() => attention.empty([1])).toThrow(lost);
    expect(() => attention.release(q)).toThrow(lost);
    expect(() => plan.encode({} as GPUComputePassEncoder, { q, k: q, v: q, out: q })).toThrow(lost);
    await expect(attention.download(q)).rejects.toThrow(lost);
    await expect(attention.project(q, q)).rejects.toThrow(lost);
    await expect(attention.plan({ q, k: q, v: q })).rejects.toThrow(lost);
    await expect(attention.scaledDotProductAttention(q, q, q)).rejects.toThrow(lost);
    await expect(selfAttention([[1]], { attention })).rejects.toThrow(lost);
  });

  test('destroy leaves the caller’s device alone', async () => {
    const device = await requestDefaultDevice();
    const first = await createAttention({ device });
    first.destroy();
    const second = await createAttention({ device });
    expect((await second.download(second.upload([7], [1]))).data).toEqual(Float32Array.of(7));
    second.destroy();
    device.destroy();
  });

  test('a device lost under pending calls rejects them', async () => {
    const device = await requestDefaultDevice();
    const attention = await createAttention({ device });
    const q = input(attention, 100);
    const pending: Promise<unknown>[] = [
      attention.scaledDotProductAttention(q, q, q),
      attention.download(q),
      attention.plan({ q, k: q, v: q }),
    ];
    device.destroy();
    const results = await Promise.allSettled(pending);
    expect(results[1]).toMatchObject({ status: 'rejected' }); // nothing can be read from a lost device
    for (const result of results) if (result.status === 'rejected') expect(result.reason).toEqual(lost);
    expect((await attention.lost).reason).toBe('destroyed');
    await expect(attention.download(q)).rejects.toThrow(lost);
    attention.destroy();
    const next = await createAttention();
    expect((await next.download(next.upload([7], [1]))).data).toEqual(Float32Array.of(7));
    next.destroy();
  });

  test('without WebGPU, or without an adapter, createAttention says so', async () => {
    const gpu = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(navigator), 'gpu')!;
    for (const [value, message] of [
      [undefined, 'navigator.gpu'],
      [{ requestAdapter: async () => null }, 'no adapter'],
      [
        { requestAdapter: async () => ({ features: new Set(), limits: {}, requestDevice: () => Promise.reject(new Error('busy')) }) },
        'busy',
      ],
    ] as const) {
      Object.defineProperty(navigator, 'gpu', { value, configurable: true });
      const error: unknown = await createAttention().catch((thrown) => thrown);
      expect(error).toBeInstanceOf(AttentionError);
      expect(error).toMatchObject({ code: 'no-webgpu', message: expect.stringContaining(message) });
    }
    Reflect.deleteProperty(navigator, 'gpu');
    expect(gpu.get!.call(navigator)).toBe(navigator.gpu);
  });
});

test('a shared Attention is made anew after its device was lost', async () => {
  // Its device, told by the buffers it makes.
  const create = GPUDevice.prototype.createBuffer;
  const devices = new Set<GPUDevice>();
  GPUDevice.prototype.createBuffer = function (this: GPUDevice, descriptor) {
    devices.add(this);
    return create.call(this, descriptor);
  };
  try {
    const first = await selfAttention([Array.from({ length: 999 }, (_, i) => i / 999)]); // of a size that no pool has yet
    expect(devices.size).toBe(1);
    const [lostDevice] = [...devices];
    lostDevice!.destroy();
    await lostDevice!.lost;
    devices.clear();
    const again = await selfAttention([Array.from({ length: 999 }, (_, i) => i / 999)]);
    expect(again).toEqual(first);
    expect([...devices]).not.toContain(lostDevice);
  } finally {
    GPUDevice.prototype.createBuffer = create;
  }
});

test('destroyed while a first call compiles: device-lost, and no buffer stays', async () => {
  const device = await requestDefaultDevice();
  const live = watchBuffers(device);
  const attention = await createAttention({ device });
  const q = input(attention, 5);
  const w = attention.upload(randomArray(1, 8 * 8), [8, 8]);
  const pending = [
    attention.scaledDotProductAttention(q, q, q),
    attention.scaledDotProductAttention(q, q, q, { algorithm: 'explicit' }),
    attention.project(q, w),
    attention.plan({ q, k: q, v: q }),
    selfAttention([[1, 2]], { attention }),
  ];
  attention.destroy();
  for (const result of await Promise.allSettled(pending)) expect(result).toMatchObject({ status: 'rejected', reason: lost });
  await device.queue.onSubmittedWorkDone();
  expect(live()).toBe(0);
  device.destroy();
});

const releasedWhileCompiling = async (attention: Attention) => {
  const x = attention.upload([1, 2], [1, 2]);
  const w = attention.upload([1, 1], [2, 1]);
  const pending = attention.project(x, w).catch((error) => error);
  attention.release(x);
  expect(await pending).toMatchObject({ code: 'option', message: expect.stringContaining('was released') });
};
testWithDevice('a tensor released while its call compiles is an error, never another tensor’s numbers', releasedWhileCompiling, {
  hasOwnDevice: true,
});

test('an error in a part of a shader is reported at the line of the part’s file', async () => {
  const device = await requestDefaultDevice();
  const source = async () => ({
    default:
      '// enable\n@compute @workgroup_size(1) fn main() { let a = f(1); }\n\n//! parts/x.wgsl\n// x: a part.\n\nfn f(a: u32) -> u32 { return a + 1.5; }\n',
  });
  const error: unknown = await getPipeline(device, { name: 'broken', source, bindings: [] }, {}).catch((thrown) => thrown);
  expect(error).toMatchObject({ code: 'compile', message: expect.stringMatching(/\n {2}parts\/x\.wgsl:3:\d+ error/) });
  device.destroy();
});

test('a shader that does not compile is reported at the line of its file', async () => {
  const device = await requestDefaultDevice();
  const source = async () => ({
    default: '// enable\nconst A: u32 = 1;\n@compute @workgroup_size(A) fn main() {\n  let x = nothing;\n}\n',
  });
  const kernel = { name: 'broken', source, bindings: [] };
  const error: unknown = await getPipeline(device, kernel, { A: 2 }).catch((thrown) => thrown);
  expect(error).toMatchObject({
    name: 'AttentionError',
    code: 'compile',
    message: expect.stringMatching(/broken A=2[\s\S]*broken\.wgsl:4:\d+ error/),
  });
  device.destroy();
});
