import { test } from 'vitest';

test('a dispatch that never ends', async () => {
  const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
  const code = `@group(0) @binding(0) var<storage, read_write> a: array<atomic<u32>>;
    @compute @workgroup_size(64) fn main() { for (var i = 0u; i < 4000000000u; i++) { if (atomicAdd(&a[0], 1u) == 0xfffffffeu) { break; } } }`;
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module: device.createShaderModule({ code }) } });
  const buffer = device.createBuffer({ size: 256, usage: GPUBufferUsage.STORAGE });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] }));
  pass.dispatchWorkgroups(64);
  pass.end();
  device.queue.submit([encoder.finish()]);
  await device.queue.onSubmittedWorkDone();
}, 5000);
