/** A linear projection in one call. Loaded when it is first used. */
import type { DeviceAttention } from '../attention.ts';
import type { GpuTensor } from '../contract/tensor.ts';
import { normalizeProjection, projectDispatch } from '../kernels/project.ts';
import { deviceFacts } from '../tiles/facts.ts';
import { chooseProjectTiles } from '../tiles/project.ts';

const caller = 'project';

/** `Attention.project` */
export async function projectRows(on: DeviceAttention, x: GpuTensor, weights: GpuTensor, bias: GpuTensor | undefined): Promise<GpuTensor> {
  const alignment = on.device.limits.minStorageBufferOffsetAlignment;
  const projection = normalizeProjection(x, weights, bias);
  const inputs = { x, w: weights, ...(bias && { bias }) };
  for (const [name, tensor] of Object.entries(inputs)) on.checkInput(`${caller}: ${name === 'w' ? 'weights' : name}`, tensor);
  const { variant, reason } = chooseProjectTiles(projection, deviceFacts(on.device, false));
  const step = { ...projectDispatch(projection, variant, alignment), reason };
  const made = await on.runStep(caller, step, inputs, { y: { shape: projection.outShape, dtype: 'f32' } });
  return made.y!;
}
