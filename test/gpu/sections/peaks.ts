/** The device's own limits through WebGPU: multiply-adds and bytes a second, and what a dispatch costs. */
import copySource from '../../../demo/benchmark/copy.wgsl?raw';
import fmaSource from '../../../demo/benchmark/fma.wgsl?raw';
import type { Peaks } from '../records.ts';
import type { Clock, RecordCall } from './clock.ts';
import { emit, isTiny, messageOf } from './say.ts';
import fillSource from './shaders/fill.wgsl?raw';
import nothingSource from './shaders/nothing.wgsl?raw';
import readSource from './shaders/read.wgsl?raw';

type Groups = readonly [x: number, y: number];

const BYTES = isTiny ? 2 ** 20 : 2 ** 30;
const FMA_GROUPS: Groups = isTiny ? [4, 1] : [32768, 8];
const OPERATIONS = FMA_GROUPS[0] * FMA_GROUPS[1] * 64 * 64 * 512; // as fma.wgsl says
const PATIENCE = isTiny ? {} : { target: 40, budget: 800 };
const ROUND_TRIPS = isTiny ? 5 : 51;

/** fma.wgsl in f16, with its result still stored as f32. */
const half = (code: string): string =>
  `enable f16;\n${code
    .replaceAll('vec4f', 'vec4h')
    .replaceAll('f32(', 'f16(')
    .replace(/(out\[.*\] = )(dot\(.*\));/, '$1f32($2);')}`;

export async function measurePeaks(device: GPUDevice, clock: Clock): Promise<Peaks> {
  const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
  const size = Math.floor(Math.min(BYTES, maxStorageBufferBindingSize, maxBufferSize) / 65536) * 65536;
  const [from, to] = [0, 1].map(() => device.createBuffer({ size, usage: GPUBufferUsage.STORAGE })) as [GPUBuffer, GPUBuffer];
  const least = async (code: string, buffers: readonly GPUBuffer[], groups: Groups) =>
    (await clock.measure(await prepare(device, code, buffers, groups), PATIENCE)).least;
  const fma = async (code: string) => OPERATIONS / (await least(code, [to], FMA_GROUPS)) / 1e9;
  const copies = size / 16 / 64;
  const copyGroups: Groups = [Math.min(copies, 32768), Math.ceil(copies / 32768)];

  await clock.once(await prepare(device, fillSource, [from], [1024, 1]), 1);
  const peaks: Peaks = {
    fma: (await attempt('fma', () => fma(fmaSource))) ?? 0,
    ...(device.features.has('shader-f16') && { fma16: await attempt('fma16', () => fma(half(fmaSource))) }),
    copy: (await attempt('copy', async () => (2 * size) / (await least(copySource, [from, to], copyGroups)) / 1e6)) ?? 0,
    read: (await attempt('read', async () => size / (await least(readSource, [from, to], [isTiny ? 16 : 4096, 1])) / 1e6)) ?? 0,
    dispatchUs: await attempt('dispatch', async () => 1000 * (await least(nothingSource, [to], [1, 1]))),
    roundTripUs: await attempt('round trip', async () => roundTrip(clock, await prepare(device, nothingSource, [to], [1, 1]))),
    clock: clock.name,
  };
  for (const buffer of [from, to]) buffer.destroy();
  emit('peaks', peaks);
  return peaks;
}

/** A figure that cannot be had is a note. */
async function attempt(name: string, body: () => Promise<number>): Promise<number | undefined> {
  try {
    return await body();
  } catch (error) {
    emit('note', { peak: name, failed: messageOf(error) });
    return undefined;
  }
}

async function prepare(device: GPUDevice, code: string, buffers: readonly GPUBuffer[], groups: Groups): Promise<RecordCall> {
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  return (pass) => {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...groups);
  };
}

/** Microseconds from a submission until the queue is done: the median. */
async function roundTrip(clock: Clock, record: RecordCall): Promise<number> {
  const walls: number[] = [];
  for (let trip = 0; trip < ROUND_TRIPS; trip++) walls.push((await clock.once(record, 1)).wall);
  return 1000 * walls.sort((a, b) => a - b)[ROUND_TRIPS >> 1]!;
}
