/** Merges attention over parts of the keys into attention over all of them. Loaded when it is first used. */
import type { MergePart } from '../contract/api.ts';
import { AttentionError } from '../contract/errors.ts';
import type { Session } from '../gpu/session.ts';
import { flashMergeDispatch, normalizeParts, type Part } from '../kernels/flash_merge.ts';

const caller = 'merge';

/** `Attention.merge` */
export async function mergeParts(session: Session, parts: readonly MergePart[]): Promise<MergePart> {
  const { limits, features } = session.device;
  const [first, ...others] = normalizeParts(parts) as [Part, ...Part[]];
  for (const [i, part] of parts.entries()) {
    for (const [name, tensor] of Object.entries({ out: part.out, lse: part.lse }))
      session.checkInput(`${caller}: parts[${i}].${name}`, tensor);
  }
  if (first.out.dtype === 'f16' && !features.has('shader-f16'))
    throw new AttentionError('unsupported', `${caller}: parts are f16: this device lacks the feature shader-f16`);
  // Parts are merged two at a time. Intermediate results are f32; the last one has the parts' type.
  let merged = { layout: first, tensors: parts[0]! };
  for (const [i, part] of (others.length > 0 ? others : [undefined]).entries()) {
    const isLast = i + 1 >= others.length;
    const dtype = isLast ? first.out.dtype : 'f32';
    const step = {
      ...flashMergeDispatch(merged.layout, part, dtype, limits.minStorageBufferOffsetAlignment, limits.maxComputeWorkgroupsPerDimension),
      reason: 'merge',
    };
    const other = part && parts[i + 1]!;
    const inputs = { a_out: merged.tensors.out, a_lse: merged.tensors.lse, ...(other && { b_out: other.out, b_lse: other.lse }) };
    const outputs = { out: { shape: first.out.shape, dtype }, lse: { shape: first.lse.shape, dtype: 'f32' as const } };
    const made = await session.runStep(caller, step, inputs, outputs).finally(() => {
      if (i > 0) for (const { buffer } of Object.values(merged.tensors)) session.pool.recycle(buffer);
    });
    const tensors = { out: made.out!, lse: made.lse! };
    merged = { layout: normalizeParts([tensors])[0]!, tensors };
  }
  return merged.tensors;
}
