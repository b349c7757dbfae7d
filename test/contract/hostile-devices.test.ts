/** Devices that end in the middle of something, and runtimes that lack WebGPU's constants as globals. */
import { expect, test } from 'vitest';
import { createAttention, createTrainableSelfAttention } from '../../src/index.ts';
import { requestDefaultDevice } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';

const lost = expect.objectContaining({ name: 'AttentionError', code: 'device-lost' });

test('a runtime without WebGPU’s globals, where the caller brings the device', async () => {
  const device = await requestDefaultDevice();
  const names = ['GPUBufferUsage', 'GPUMapMode', 'GPUShaderStage', 'GPUBuffer', 'GPUDevice', 'GPUComputePassEncoder', 'GPUValidationError'];
  const kept = names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)!] as const);
  for (const name of names) Reflect.deleteProperty(globalThis, name);
  try {
    const attention = await createAttention({ device });
    const q = attention.upload(randomArray(1, 24), [1, 2, 3, 4]);
    const { out, lse } = await attention.scaledDotProductAttention(q, q, q, { returnLse: true, algorithm: 'explicit' });
    expect((await attention.download(out)).data).toHaveLength(24);
    await attention.backward(q, { q, k: q, v: q, out, lse: lse! });
    const layer = await createTrainableSelfAttention(attention, { width: 2 });
    await layer.update();
    expect((await layer.parameters()).keyWeights.data).toHaveLength(4);
    attention.destroy();
  } finally {
    for (const [name, own] of kept) Object.defineProperty(globalThis, name, own);
    device.destroy();
  }
});

test('a download in any tick around destroy has the data, or says so', async () => {
  const device = await requestDefaultDevice();
  const uncaptured: string[] = [];
  device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
  const outcomes = new Set<string>();
  for (let ticks = 0; ticks < 40; ticks++) {
    const attention = await createAttention({ device });
    const tensor = attention.upload([1, 2, 3], [3]);
    const reading = attention.download(tensor).then(
      ({ data }) => [...data].join(),
      (error: { code?: string }) => error.code ?? String(error),
    );
    for (let tick = 0; tick < ticks; tick++) await (ticks < 20 ? undefined : new Promise((resolve) => setTimeout(resolve)));
    attention.destroy();
    await expect(attention.download(tensor)).rejects.toThrow(lost);
    outcomes.add(await reading);
  }
  await device.queue.onSubmittedWorkDone();
  expect(uncaptured).toEqual([]);
  for (const outcome of outcomes) expect(['1,2,3', 'device-lost']).toContain(outcome);
  expect(outcomes).toContain('device-lost');
  device.destroy();
});

test('every call says so once the device was lost, and in the tick of the loss does no harm', async () => {
  const device = await requestDefaultDevice();
  const attention = await createAttention({ device });
  attention.release(attention.empty([2]));
  const tensor = attention.upload([1, 2], [2]);
  device.destroy();
  const uploaded = (): unknown => attention.upload([3, 4], [2]);
  for (const call of [() => attention.empty([2]), () => attention.empty([3000]), uploaded]) {
    try {
      call(); // the page does not know yet
    } catch (error) {
      expect(error).toEqual(lost);
    }
  }
  await expect(attention.download(tensor)).rejects.toThrow(lost);
  await device.lost;
  for (const call of [() => attention.empty([2]), () => attention.empty([3000]), uploaded, () => attention.release(tensor)])
    expect(call).toThrow(lost);
  await expect(attention.scaledDotProductAttention(tensor, tensor, tensor)).rejects.toThrow(lost);
  attention.destroy();
});

test('an Attention of a device that was lost before', async () => {
  const device = await requestDefaultDevice();
  device.destroy();
  await device.lost;
  const attention = await createAttention({ device });
  expect(() => attention.empty([2])).toThrow(lost);
  await expect(attention.project({} as never, {} as never)).rejects.toThrow(lost);
});
