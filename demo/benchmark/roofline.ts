/** What the device can do at most: multiply-adds and bytes a second, measured in the same run as attention. */
import copySource from './copy.wgsl?raw';
import fmaSource from './fma.wgsl?raw';

export interface Roofline {
  readonly gflops: number; // a multiply-add counts two
  readonly gbps: number; // 10⁹ bytes a second, read and written
}

const SAMPLE_MS = 40;
const SAMPLES = 5;
const COPY_BYTES = 2 ** 26;

/** Runs for two to three seconds. `wait` is how the caller waits for the queue, so that a lost or cancelled device ends it. */
export async function measureRoofline(device: GPUDevice, wait: (promise: Promise<unknown>) => Promise<unknown>): Promise<Roofline> {
  const bytes = Math.min(COPY_BYTES, device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize / 2);
  const usage = GPUBufferUsage.STORAGE;
  const from = device.createBuffer({ label: 'roofline: from', size: bytes, usage });
  const to = device.createBuffer({ label: 'roofline: to', size: bytes, usage });
  const time = (pipeline: GPUComputePipeline, buffers: GPUBuffer[], groups: number, calls: number) =>
    timeOf(device, wait, pipeline, buffers, groups, calls);
  try {
    const fma = await compile(device, 'roofline: fma', fmaSource);
    let groups = 16;
    let fmaTime = 0;
    while (groups < 2 ** 20 && fmaTime < SAMPLE_MS) {
      groups *= 2;
      fmaTime = await fastest(() => time(fma, [to], groups, 1));
    }
    const copy = await compile(device, 'roofline: copy', copySource);
    const copyGroups = Math.ceil(bytes / (16 * 64));
    let calls = 0.5;
    let copyTime = 0;
    while (calls < 1024 && copyTime < SAMPLE_MS) {
      calls *= 2;
      copyTime = await fastest(() => time(copy, [from, to], copyGroups, calls));
    }
    return { gflops: (groups * 64 * 64 * 512) / fmaTime / 1e6, gbps: (2 * bytes * calls) / copyTime / 1e6 };
  } finally {
    from.destroy();
    to.destroy();
  }
}

function compile(device: GPUDevice, label: string, code: string): Promise<GPUComputePipeline> {
  return device.createComputePipelineAsync({ label, layout: 'auto', compute: { module: device.createShaderModule({ label, code }) } });
}

/** Milliseconds until the queue has done `calls` dispatches. */
async function timeOf(
  device: GPUDevice,
  wait: (promise: Promise<unknown>) => Promise<unknown>,
  pipeline: GPUComputePipeline,
  buffers: readonly GPUBuffer[],
  groups: number,
  calls: number,
): Promise<number> {
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  const width = Math.min(groups, 32768);
  for (let i = 0; i < calls; i++) pass.dispatchWorkgroups(width, Math.ceil(groups / width));
  pass.end();
  const start = performance.now();
  device.queue.submit([encoder.finish()]);
  await wait(device.queue.onSubmittedWorkDone());
  return performance.now() - start;
}

/** What other work on the machine, and a first call, add is no part of a peak. */
async function fastest(sample: () => Promise<number>): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < SAMPLES; i++) least = Math.min(least, await sample());
  return least;
}
