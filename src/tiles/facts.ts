/** The facts about a device that tile sizes depend on: those that it reports, and the order of its quads, which no limit or feature tells. */
import { destroyQuietly } from '../gpu/device.ts';
import { MAP_READ, USAGE } from '../gpu/native.ts';
import { getPipeline } from '../gpu/pipelines.ts';
import { quadProbe } from '../kernels/quad_probe.ts';

/** The facts that a device reports. Kernels without quads need no others. */
export interface BasicFacts {
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number; // bytes
  readonly isSoftware: boolean; // the device runs on the CPU
  readonly vendor: string; // as the adapter spells it; '' where it reports none
  readonly architecture: string;
  readonly subgroupSizes: readonly [number, number]; // least and largest
  readonly canFixSubgroupSize: boolean; // feature subgroup-size-control
}

export interface DeviceFacts extends BasicFacts {
  readonly hasQuads: boolean; // subgroups, with quads in the order of local_invocation_index
}

export function basicFacts({ limits, features, adapterInfo }: GPUDevice): BasicFacts {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = limits;
  return {
    maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupStorageSize,
    isSoftware: adapterInfo?.isFallbackAdapter ?? false,
    vendor: adapterInfo?.vendor ?? '',
    architecture: adapterInfo?.architecture ?? '',
    subgroupSizes: [adapterInfo?.subgroupMinSize ?? 4, adapterInfo?.subgroupMaxSize ?? 128],
    canFixSubgroupSize: (features as ReadonlySet<string>).has('subgroup-size-control'),
  };
}

/** The first call on a device runs the quad probe there. */
export async function deviceFacts(device: GPUDevice): Promise<DeviceFacts> {
  return { ...basicFacts(device), hasQuads: await hasOrderedQuads(device) };
}

const devices = /* @__PURE__ */ new WeakMap<GPUDevice, Promise<boolean>>();

/** Whether the lanes of a quad, and 8 or 16 lanes of wider subgroups, follow local_invocation_index. The quad kernels need it. Probed once a device. */
export function hasOrderedQuads(device: GPUDevice): Promise<boolean> {
  if (!device.features.has('subgroups')) return Promise.resolve(false);
  const known = devices.get(device) ?? probe(device).catch(() => false); // a device on which the probe fails takes the baseline tier
  devices.set(device, known);
  return known;
}

const label = 'quad_probe';

async function probe(device: GPUDevice): Promise<boolean> {
  const pipeline = await getPipeline(device, quadProbe, {});
  const out = device.createBuffer({ label, size: 4, usage: USAGE.STORAGE | USAGE.COPY_SRC });
  const staging = device.createBuffer({ label, size: 4, usage: USAGE.MAP_READ | USAGE.COPY_DST });
  try {
    return await isOrdered(device, pipeline, out, staging);
  } finally {
    for (const buffer of [out, staging]) destroyQuietly(buffer);
  }
}

async function isOrdered(device: GPUDevice, pipeline: GPUComputePipeline, out: GPUBuffer, staging: GPUBuffer): Promise<boolean> {
  const encoder = device.createCommandEncoder({ label });
  const pass = encoder.beginComputePass({ label });
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({ label, layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer: out } }] }),
  );
  pass.dispatchWorkgroups(4);
  pass.end();
  encoder.copyBufferToBuffer(out, 0, staging, 0, 4);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(MAP_READ);
  return new Uint32Array(staging.getMappedRange())[0] === 0;
}
