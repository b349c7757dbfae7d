import { AttentionError, quote } from '../errors.ts';
import type { HostTensor } from '../tensor.ts';
import { checkHostTensor } from './host.ts';
import { isExcluded, LOWEST } from './scores.ts';

/**
 * Attention over the union of the parts' keys, in f64, from attention over each part and its log-sum-exp: the twin of `shaders/flash_merge.wgsl`.
 * A part whose row saw no key (log-sum-exp the lowest finite f32) has no share.
 * @param parts out [B,H,N,Dv] and lse [B,H,N], all of the same shape
 * @returns the same for all keys together
 * @throws AttentionError 'shape', 'dtype'
 */
export function merge(parts: readonly { out: HostTensor; lse: HostTensor }[]): { out: HostTensor; lse: HostTensor } {
  if (!Array.isArray(parts) || parts.length === 0)
    throw new AttentionError('shape', `reference.merge: parts is ${quote(parts)}: need at least one`);
  const data = parts.map((part, i) => {
    const given = {
      out: checkHostTensor(`reference.merge: parts[${i}].out`, part?.out),
      lse: checkHostTensor(`reference.merge: parts[${i}].lse`, part?.lse),
    };
    if (part.out.shape.length !== 4)
      throw new AttentionError('shape', `reference.merge: parts[${i}].out is ${quote(part.out.shape)}: need rank 4, [B,H,N,Dv]`);
    if (quote(part.out.shape) !== quote(parts[0].out.shape) || quote(part.lse.shape) !== quote(part.out.shape.slice(0, 3))) {
      throw new AttentionError(
        'shape',
        `reference.merge: parts[${i}] is ${quote(part.out.shape)} and ${quote(part.lse.shape)}, parts[0].out is ${quote(parts[0].out.shape)}`,
      );
    }
    return given;
  });
  const { shape } = parts[0].out;
  const Dv = shape[3]!;
  const rows = data[0]!.lse.length;
  const out = new Float64Array(rows * Dv);
  const lse = new Float64Array(rows).fill(LOWEST);
  for (let row = 0; row < rows; row++) {
    const largest = data.reduce((max, part) => Math.max(max, part.lse[row]!), LOWEST);
    const shares = data.map((part) => (isExcluded(part.lse[row]!) ? 0 : Math.exp(part.lse[row]! - largest)));
    const total = shares.reduce((sum, share) => sum + share, 0);
    if (total === 0) continue;
    for (const [i, share] of shares.entries()) {
      if (share === 0) continue;
      for (let e = 0; e < Dv; e++) out[row * Dv + e]! += (share / total) * data[i]!.out[row * Dv + e]!;
    }
    lse[row] = largest + Math.log(total);
  }
  return { out: { data: out, shape }, lse: { data: lse, shape: shape.slice(0, 3) } };
}
