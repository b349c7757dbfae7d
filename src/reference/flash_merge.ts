import { AttentionError, quote } from '../contract/errors.ts';
import { type HostInput, readFloats } from '../contract/host-data.ts';
import { copyList, pick } from '../contract/record.ts';
import type { HostTensor } from '../contract/tensor.ts';
import { isExcluded, LOWEST } from './scores.ts';

/**
 * Attention over the union of the parts' keys, in f64, from attention over each part and its log-sum-exp. The twin of `shaders/flash_merge.wgsl`.
 * A row of a part without a visible key has the lowest finite f32 as log-sum-exp. It has no share in the result.
 * @param given the parts: out [B,H,N,Dv] and lse [B,H,N], all of the same shape
 * @returns out and lse for all keys together
 * @throws AttentionError 'shape', 'dtype'
 */
export function merge(given: readonly { out: HostInput; lse: HostInput }[]): { out: HostTensor; lse: HostTensor } {
  const parts = copyList('reference.merge: parts', given, 2 ** 16);
  if (!Array.isArray(parts) || parts.length === 0)
    throw new AttentionError('shape', `reference.merge: parts is ${quote(given)}: need at least one`);
  const data = parts.map((part: unknown, i) => {
    const what = `reference.merge: parts[${i}]`;
    if (part === null || typeof part !== 'object') throw new AttentionError('shape', `${what} is ${quote(part)}: need { out, lse }`);
    const { out, lse } = pick(what, part, ['out', 'lse']);
    return { out: readFloats(`${what}.out`, out), lse: readFloats(`${what}.lse`, lse) };
  });
  const { shape } = data[0]!.out;
  for (const [i, { out, lse }] of data.entries()) {
    if (out.shape.length !== 4 || out.shape[3] === 0)
      throw new AttentionError(
        'shape',
        `reference.merge: parts[${i}].out is ${quote(out.shape)}: need rank 4, [B,H,N,Dv], and Dv at least 1`,
      );
    if (quote(out.shape) !== quote(shape) || quote(lse.shape) !== quote(shape.slice(0, 3))) {
      throw new AttentionError(
        'shape',
        `reference.merge: parts[${i}] is ${quote(out.shape)} and ${quote(lse.shape)}, parts[0].out is ${quote(shape)}`,
      );
    }
  }
  const Dv = shape[3]!;
  const rows = data[0]!.lse.data.length;
  const out = new Float64Array(rows * Dv);
  const lse = new Float64Array(rows).fill(LOWEST);
  for (let row = 0; row < rows; row++) {
    const largest = data.reduce((max, part) => Math.max(max, part.lse.data[row]!), LOWEST);
    const shares = data.map((part) => (isExcluded(part.lse.data[row]!) ? 0 : Math.exp(part.lse.data[row]! - largest)));
    const total = shares.reduce((sum, share) => sum + share, 0);
    if (total === 0) continue;
    for (const [i, share] of shares.entries()) {
      if (share === 0) continue;
      for (let e = 0; e < Dv; e++) out[row * Dv + e]! += (share / total) * data[i]!.out.data[row * Dv + e]!;
    }
    lse[row] = largest + Math.log(total);
  }
  return { out: { data: out, shape }, lse: { data: lse, shape: shape.slice(0, 3) } };
}
