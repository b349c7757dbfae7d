/** plan() and encode(): what they allocate, what they record, and on whose buffers. */
import { describe, expect, test } from 'vitest';
import type { Attention, AttentionTensors, GpuTensor } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices, place, runPass, testWithDevice } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { expectNear } from '../rig/tolerance.ts';

const layout = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
const buffer = (device: GPUDevice, size: number) => device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });

/** Counts the calls of a device's and its queue's methods. */
function count(device: GPUDevice): { calls: () => Record<string, number>; restore: () => void } {
  const counts: Record<string, number> = {};
  const undo: (() => void)[] = [];
  const watch = (target: object, names: readonly string[]) => {
    for (const name of names) {
      const original = (target as Record<string, (...args: unknown[]) => unknown>)[name]!;
      Object.defineProperty(target, name, {
        configurable: true,
        value: (...args: unknown[]) => {
          counts[name] = (counts[name] ?? 0) + 1;
          return original.apply(target, args);
        },
      });
      undo.push(() => Reflect.deleteProperty(target, name));
    }
  };
  watch(device, [
    'createBuffer',
    'createShaderModule',
    'createComputePipelineAsync',
    'createComputePipeline',
    'createCommandEncoder',
    'createQuerySet',
    'createTexture',
  ]);
  watch(device.queue, ['submit', 'writeBuffer', 'onSubmittedWorkDone']);
  const restore = () => {
    for (const each of undo) each();
  };
  return { calls: () => ({ ...counts }), restore };
}

const inputs = (attention: Attention, M = 6): [GpuTensor, GpuTensor, GpuTensor] => {
  const tensor = (seed: number) => attention.upload(randomArray(seed, M * 4), [1, 1, M, 4]);
  return [tensor(1), tensor(2), tensor(3)];
};

describe('plan', () => {
  const makingOneBuffer = async (attention: Attention, device: GPUDevice) => {
    const [q, k, v] = inputs(attention);
    const watched = count(device);
    const plan = await attention.plan({ q, k, v, returnLse: true, algorithm: 'explicit' });
    expect(watched.calls()).toMatchObject({ createBuffer: 1, createShaderModule: 3, createComputePipelineAsync: 3 });
    const before = watched.calls();
    expect(before.submit).toBeUndefined();
    const tensors = {
      q,
      k,
      v,
      out: attention.empty([1, 1, 6, 4]),
      lse: attention.empty([1, 1, 6]),
      workspace: buffer(device, plan.workspaceBytes),
    };
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    const start = watched.calls();
    plan.encode(pass, tensors);
    expect(watched.calls()).toEqual(start);
    pass.end();
    device.queue.submit([encoder.finish()]);
    watched.restore();
  };
  testWithDevice('makes one buffer; encode makes, submits, maps and copies nothing', makingOneBuffer, { hasOwnDevice: true });

  const secondCalls = async (attention: Attention, device: GPUDevice) => {
    const first = inputs(attention, 5);
    await attention.scaledDotProductAttention(...first);
    const watched = count(device);
    await attention.scaledDotProductAttention(...first);
    await attention.scaledDotProductAttention(...inputs(attention, 7));
    expect(watched.calls()).not.toHaveProperty('createShaderModule');
    expect(watched.calls()).not.toHaveProperty('createComputePipelineAsync');
    watched.restore();
  };
  testWithDevice('the second call of a shape compiles nothing, and neither does another length', secondCalls, { hasOwnDevice: true });

  testWithDevice('auto takes fused, which needs no workspace, unless N×M is asked for', async (attention) => {
    const [q, k, v] = inputs(attention);
    const names = ({ kernels }: { kernels: readonly { name: string }[] }) => kernels.map(({ name }) => name);
    const plan = await attention.plan({ q, k, v });
    expect([names(plan), plan.workspaceBytes]).toEqual([['flash_forward'], 0]);
    expect(plan.kernels[0]!.reason).toMatch(/auto takes fused/);
    const both = await attention.plan({ q, k, v, alibiSlopes: true, sinks: true });
    expect([names(both), both.workspaceBytes]).toEqual([['heads', 'flash_forward'], 8]);
    const explicit = await attention.plan({ q, k, v, algorithm: 'explicit' });
    expect([names(explicit), explicit.workspaceBytes]).toEqual([['scores', 'softmax', 'context'], 4 * 6 * 6]);
    for (const { reason } of explicit.kernels) expect(reason).toMatch(/explicit was asked for/);
    const weights = await attention.plan({ q, k, v, returnScores: 'weights' });
    expect([names(weights), weights.workspaceBytes]).toEqual([['scores', 'softmax', 'context'], 0]);
    for (const { reason } of weights.kernels) expect(reason).toMatch(/auto takes explicit: returnScores is "weights"/);
    const raw = await attention.plan({ q, k, v, returnScores: 'raw' });
    expect([names(raw), raw.workspaceBytes]).toEqual([['scores', 'scores', 'softmax', 'context'], 4 * 6 * 6]);
    const wide = await attention.plan({ q: layout(1, 1, 2, 300), k: layout(1, 1, 2, 300), v: layout(1, 1, 2, 8) });
    expect(wide.kernels[0]!.reason).toMatch(/auto takes explicit: D is 300/);
    const huge = layout(1, 8, 4096, 64); // a 512 MB score matrix: more than this device binds
    expect((await attention.plan({ q: huge, k: huge, v: huge })).workspaceBytes).toBe(0);
  });

  testWithDevice('destroyed: encode fails, and commands recorded before cannot be submitted', async (attention, device) => {
    const [q, k, v] = inputs(attention);
    const plan = await attention.plan({ q, k, v });
    const tensors = { q, k, v, out: attention.empty([1, 1, 6, 4]) };
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    plan.encode(pass, tensors);
    pass.end();
    plan.destroy();
    expect(() => plan.encode(pass, tensors)).toThrow(expect.objectContaining({ code: 'device-lost' }));
    device.pushErrorScope('validation');
    device.queue.submit([encoder.finish()]);
    expect((await device.popErrorScope())?.message).toMatch(/destroyed/);
  });
});

onDevices('plan', (attention) => {
  test('several plans in one pass on the caller’s buffers, a mask and key lengths among them', async () => {
    const { device } = attention();
    const data = { q: randomArray(1, 2 * 9 * 8), k: randomArray(2, 2 * 12 * 8), v: randomArray(3, 2 * 12 * 8) };
    const mask = Uint8Array.from({ length: 12 }, (_, i) => Number(i % 3 !== 0));
    // q, k and v packed in one buffer, as a projection writes them
    const packed = place(device, [...data.q, ...data.k, ...data.v], [144 + 192 + 192], { offset: 256 });
    const inPacked = (elements: number, ...shape: number[]): GpuTensor => ({
      buffer: packed.tensor.buffer,
      ...layout(...shape),
      offset: 256 + 4 * elements,
    });
    const tensors = {
      q: inPacked(0, 2, 1, 9, 8),
      k: inPacked(144, 2, 1, 12, 8),
      v: inPacked(336, 2, 1, 12, 8),
      mask: place(device, mask, [12], { dtype: 'bool' }).tensor,
      keyLengths: place(device, [12, 5], [2], { dtype: 'u32', offset: 256 }).tensor,
    };
    const { q, k, v } = tensors;
    const options = { isCausal: true, causalOffset: 'lower-right' } as const;
    const first = await attention().plan({ q, k, v, mask: tensors.mask, keyLengths: true, ...options });
    const second = await attention().plan({ q, k, v, scale: 2, returnScores: 'raw' });
    const out = [place(device, null, [2, 1, 9, 8]), place(device, null, [2, 1, 9, 8])] as const;
    const scores = place(device, null, [2, 1, 9, 12], { offset: 256 });
    // Plans that run one after another in a pass may share a workspace.
    const workspace = buffer(device, Math.max(first.workspaceBytes, second.workspaceBytes));
    const firstTensors: AttentionTensors = { ...tensors, out: { ...out[0].tensor, offset: 268 }, workspace };
    const planOut = { ...layout(2, 1, 9, 8), offset: 268 };
    const strided = await attention().plan({ q, k, v, mask: tensors.mask, keyLengths: true, ...options, out: planOut });
    const secondStrided = await attention().plan({ q, k, v, scale: 2, returnScores: 'raw', out: planOut });
    await runPass(device, (pass) => {
      strided.encode(pass, firstTensors);
      secondStrided.encode(pass, { q, k, v, out: out[1].tensor, scores: scores.tensor, workspace });
    });
    const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
    const hosts = [host(data.q, 2, 1, 9, 8), host(data.k, 2, 1, 12, 8), host(data.v, 2, 1, 12, 8)] as const;
    const expected = [
      scaledDotProductAttention(...hosts, { ...options, mask: { data: mask, shape: [12] }, keyLengths: [12, 5] }).out.data,
      scaledDotProductAttention(...hosts, { scale: 2 }).out.data,
      scaledDotProductAttention(...hosts, { scale: 2, returnScores: 'raw' }).scores!.data,
    ];
    for (const [i, tensor] of [out[0], out[1], scores].entries()) {
      expectNear(`output ${i}`, await tensor.read(), expected[i]!, 5e-6);
    }
  });

  test('a slice that moves along a cache needs one plan', async () => {
    const { device } = attention();
    const cache = randomArray(5, 64 * 64); // 64 positions of 64 numbers: each 256 bytes
    const held = place(device, cache, [64, 64], { offset: 0 });
    const slice = (position: number): GpuTensor => ({ buffer: held.tensor.buffer, ...layout(1, 1, 4, 64), offset: 256 * position });
    const plan = await attention().plan({ q: slice(0), k: slice(0), v: slice(0) });
    for (const position of [0, 7, 60]) {
      const out = attention().empty([1, 1, 4, 64]);
      await runPass(device, (pass) => plan.encode(pass, { q: slice(position), k: slice(position), v: slice(position), out }));
      const data = cache.slice(64 * position, 64 * (position + 4));
      const rows = { data, shape: [1, 1, 4, 64] };
      const expected = scaledDotProductAttention(rows, rows, rows).out.data;
      expectNear(`position ${position}`, (await attention().download(out)).data, expected, 5e-6);
      attention().release(out);
    }
    plan.destroy();
  });
});
