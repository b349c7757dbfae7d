/** A linear projection in one call. Loaded when it is first used. */
import type { GpuTensor } from '../contract/tensor.ts';
import type { Session } from '../gpu/session.ts';
import { normalizeProjection, projectDispatch } from '../kernels/project.ts';
import { basicFacts } from '../tiles/facts.ts';
import { chooseProjectTiles } from '../tiles/project.ts';

const caller = 'project';

/** `Attention.project` */
export async function projectRows(
  session: Session,
  { x, weights, bias }: { readonly x: GpuTensor; readonly weights: GpuTensor; readonly bias?: GpuTensor },
): Promise<GpuTensor> {
  const alignment = session.device.limits.minStorageBufferOffsetAlignment;
  const projection = normalizeProjection(x, weights, bias);
  const inputs = { x, w: weights, ...(bias && { bias }) };
  for (const [name, tensor] of Object.entries(inputs)) session.checkInput(`${caller}: ${name === 'w' ? 'weights' : name}`, tensor);
  const { variant, reason } = chooseProjectTiles(projection, basicFacts(session.device));
  const step = { ...projectDispatch(projection, variant, alignment), reason };
  const made = await session.runStep(caller, step, inputs, { y: { shape: projection.outShape, dtype: 'f32' } });
  return made.y!;
}
