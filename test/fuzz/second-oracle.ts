/** What onnxruntime says of a random problem, where its operator Attention can say the same. */
import { commands } from 'vitest/browser';
import type { FuzzInputs } from './inputs.ts';
import type { OnnxAttributes, OnnxInputs, OnnxTensor } from './onnx-model.ts';
import type { FuzzProblem } from './problem.ts';

// Vitest declares its commands in the package of a browser provider of its own, and none is installed here.
declare module 'vitest/browser' {
  const commands: {
    claimProblem(number: number): Promise<boolean>;
    findOnnxruntime(): Promise<{ version: string } | { missing: string }>;
    runOnnxAttention(attributes: OnnxAttributes, inputs: OnnxInputs): Promise<string>;
  };
}

/** The operator has no windows, ALiBi, sinks or dropout, and onnxruntime 1.30 refuses a scale that is not above 0. */
function isExpressible({ window, alibi, sinks, dropout, scale, softcap, ...p }: FuzzProblem): boolean {
  if (window || alibi || sinks || dropout > 0 || (scale !== undefined && scale <= 0)) return false;
  if (softcap > 1e3 || (softcap > 0 && softcap < 1e-3)) return false; // its tanh is in f32, with an error that large caps multiply
  return !p.isCausal || p.causalOffset === 'lower-right' || (p.causalOffset === 0 && !p.lengths);
}

/**
 * onnxruntime 1.30.0 means what we mean in all that `isExpressible` lets through: nothing is left out of the comparison. 1.26.0 does not:
 * a single query of isCausal sees every key, with nonpad_kv_seqlen isCausal starts in the upper left, a boolean mask leaks through softcap,
 * and a row that sees no key is a mean of values, or NaN, where 1.30.0 too gives 0.
 * @returns out, [B,H,N,Dv]; undefined where the operator cannot express `p`
 */
export async function secondOpinion(p: FuzzProblem, { q, k, v, mask, lengths }: FuzzInputs): Promise<Float32Array | undefined> {
  if (!isExpressible(p)) return undefined;
  const { B, Hk, N, M, D, Dv } = p;
  const H = Hk * p.group;
  // With nonpad_kv_seqlen the operator's diagonal ends in the lower right of the keys that exist. It must not exceed M.
  const existing =
    lengths?.map((length) => Math.min(length, M)) ?? (p.isCausal && p.causalOffset === 'lower-right' ? Array(B).fill(M) : undefined);
  const attributes = { is_causal: Number(p.isCausal), softcap: p.softcap, ...(p.scale !== undefined && { scale: p.scale / Math.sqrt(D) }) };
  const out = await commands.runOnnxAttention(attributes, {
    q: tensor('float32', q, [B, H, N, D]),
    k: tensor('float32', k, [B, Hk, M, D]),
    v: tensor('float32', v, [B, Hk, M, Dv]),
    ...(mask && {
      attn_mask: tensor(mask.data instanceof Uint8Array ? 'bool' : 'float32', mask.data, mask.shape),
      mask_shape: integers([B, H, N, M]),
    }),
    ...(existing && { nonpad_kv_seqlen: integers(existing) }),
  });
  return new Float32Array(Uint8Array.from(atob(out), (char) => char.charCodeAt(0)).buffer);
}

const integers = (values: readonly number[]) => tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);

function tensor(type: OnnxTensor['type'], { buffer, byteOffset, byteLength }: ArrayBufferView, shape: readonly number[]): OnnxTensor {
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  return { type, shape, base64: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')) };
}
