/** The gradients of a random problem, on one tier of the backward pass, against the reference's. */
import type { Attention, AttentionOptions, GpuTensor } from '../../src/index.ts';
import { backward, type HostTensor, scaledDotProductAttention } from '../../src/reference/index.ts';
import { withEveryFlag } from '../rig/tiers.ts';
import { expectElementsNear, F32 } from './compare.ts';
import { type FuzzInputs, round } from './inputs.ts';
import { type FuzzProblem, isGeneral } from './problem.ts';
import { host, hostTensors, type Placer } from './tensors.ts';

const NAMES = ['q', 'k', 'v', 'mask', 'sinks'] as const;
type Name = (typeof NAMES)[number];

/**
 * The backward pass alone: out and lse are the reference's, rounded to what they are stored in, and the same on both sides.
 * @param inputs placed: q, k and v, and the options
 */
export async function expectGradients(
  attention: Attention,
  p: FuzzProblem,
  drawn: FuzzInputs,
  inputs: ReturnType<Placer['inputs']>,
  placer: Placer,
): Promise<void> {
  const { B, Hk, N, Dv } = p;
  const H = Hk * p.group;
  const { options, ...forward } = hostTensors(p, drawn);
  const exact = scaledDotProductAttention(forward.q, forward.k, forward.v, { ...options, returnScores: 'weights' });
  const out = round(Float32Array.from(exact.out.data), p.qType);
  const lse = Float32Array.from(exact.lse!.data);
  const maskGradient = p.maskGradient && p.mask !== undefined && p.mask.kind !== 'bool';
  const both = { ...forward, out: host(out, B, H, N, Dv), lse: host(lse, B, H, N) };
  const expected = backward(host(drawn.gradient, B, H, N, Dv), both, { ...options, maskGradient });
  const magnitudes = magnitudesOf(p, drawn, { ...both, weights: exact.scores!, maskShape: expected.mask?.shape });

  const [tier, variant] = tierOf(attention.device, p);
  const given = { q: inputs.q, k: inputs.k, v: inputs.v, out: placer.view(out, p.qType, H, N, Dv), lse: placer.put(lse, [B, H, N], 'f32') };
  const gradient = placer.view(drawn.gradient, p.qType, H, N, Dv);
  const got = await attention.backward(gradient, given, { ...inputs.options, maskGradient, variant });
  const tensors = NAMES.flatMap((name) => (got[name] ? [[name, got[name]] as const] : []));
  const wanted = NAMES.filter((name) => expected[name]);
  if (String(tensors.map(([name]) => name)) !== String(wanted)) throw new Error(`backward gives ${tensors}, not ${wanted}`);
  for (const [name, tensor] of tensors) await expectGradientNear(attention, `${tier} d${name}`, tensor, expected[name]!, magnitudes[name]!);
  attention.release(...tensors.map(([, tensor]) => tensor));
}

const BASELINE = { TILE_N: 16, TILE_M: 16, BLOCKS: 2 };
const QUAD = { LANES: 4, ROWS: 2, D_VECS: 4, DV_VECS: 4 };
const ROW = { SIZE: 4, ROWS: 1, D_BLOCKS: 4, DV_BLOCKS: 4 };
const TIERS: Record<'baseline' | 'row' | 'quad', AttentionOptions['variant'] & object> = {
  baseline: { flash_backward_dq: { ...BASELINE, KEYS: 8 }, flash_backward_dkv: { ...BASELINE, QUERIES: 8 } },
  quad: { flash_backward_dq_quad: QUAD, flash_backward_dkv_quad: { ...QUAD, PARTS: 2 } },
  row: { flash_backward_dq_row: ROW, flash_backward_dkv_row: ROW },
};

/** One tier of those that can take the problem, with tiles that few pipelines cover: compiling them takes a software device seconds. */
function tierOf({ features }: GPUDevice, p: FuzzProblem) {
  const { D, Dv, seed } = p;
  const canHold = features.has('subgroups') && Math.max(D, Dv) <= 64; // whole rows, in the registers of those tiles
  const tier = canHold ? (['baseline', 'row', 'quad'] as const)[seed % 3]! : 'baseline';
  return [tier, isGeneral(p) ? withEveryFlag(TIERS[tier]) : TIERS[tier]] as const;
}

/**
 * What is below the smallest normal f32 may be lost. f16: half a place of the smallest.
 * @param magnitudes of each element: see magnitudesOf
 */
async function expectGradientNear(attention: Attention, what: string, tensor: GpuTensor, { data }: HostTensor, magnitudes: Float64Array) {
  const [rounding, least] = tensor.dtype === 'f16' ? [2 ** -11, 2 ** -25] : [2 ** -24, 2 ** -126];
  const allowed = (i: number) => F32 * magnitudes[i]! + rounding * Math.abs(data[i]!) + least;
  expectElementsNear(what, (await attention.download(tensor)).data, data, allowed);
}

interface Forward {
  readonly out: HostTensor; // [B,H,N,Dv]
  readonly lse: HostTensor; // [B,H,N]
  readonly weights: HostTensor; // [B,H,N,M], before dropout
  readonly maskShape: readonly number[] | undefined; // of the mask's gradient
}

/**
 * The sums that the gradients are, with every term's absolute value: a weight's relative error, F32 (see compare.ts), shows in its terms in full, and terms
 * that cancel leave it behind. Dropout counts as if it kept all, softcap's derivative as 1.
 */
function magnitudesOf(p: FuzzProblem, { q, k, v, gradient, sinks }: FuzzInputs, { out, lse, weights, maskShape }: Forward) {
  const { B, Hk, N, M, D, Dv } = p;
  const H = Hk * p.group;
  const factor = 1 / (1 - p.dropout);
  const scale = Math.abs(p.scale ?? 1) / Math.sqrt(D);
  const sums = {
    q: zeros(q),
    k: zeros(k),
    v: zeros(v),
    sinks: new Float64Array(H),
    mask: new Float64Array(maskShape ? countOf(maskShape) : 0),
  };
  for (let row = 0; row < B * H * N; row++) {
    const [head, n] = [Math.floor(row / N), row % N];
    const [b, h] = [Math.floor(head / H), head % H];
    const dOut = gradient.subarray(row * Dv, (row + 1) * Dv);
    const delta = absoluteProduct(dOut, out.data, row * Dv);
    if (sinks) sums.sinks[h]! += Math.exp(sinks[h]! - lse.data[row]!) * delta;
    for (let m = 0; m < M; m++) {
      const weight = weights.data[row * M + m]!;
      if (weight === 0) continue;
      const key = (b * Hk + Math.floor(h / p.group)) * M + m;
      const magnitude = weight * (factor * absoluteProduct(dOut, v, key * Dv) + delta);
      addScaled(sums.q, row * D, scale * magnitude, k, key * D, D);
      addScaled(sums.k, key * D, scale * magnitude, q, row * D, D);
      addScaled(sums.v, key * Dv, weight * factor, gradient, row * Dv, Dv);
      if (maskShape) sums.mask[maskIndex(maskShape, [b, h, n, m])]! += magnitude;
    }
  }
  return sums satisfies Record<Name, Float64Array>;
}

const zeros = ({ length }: Float32Array) => new Float64Array(length);
const countOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Σ |a ∘ b|, with b from an element on. */
function absoluteProduct(a: ArrayLike<number>, b: ArrayLike<number>, from: number): number {
  let sum = 0;
  for (let e = 0; e < a.length; e++) sum += Math.abs(a[e]! * b[from + e]!);
  return sum;
}

function addScaled(sums: Float64Array, to: number, factor: number, values: Float32Array, from: number, width: number): void {
  for (let e = 0; e < width; e++) sums[to + e]! += factor * Math.abs(values[from + e]!);
}

/** The element of a mask that a pair of [B,H,N,M] reads. */
const maskIndex = (shape: readonly number[], pair: readonly number[]): number =>
  shape.reduce((index, size, axis) => index * size + (size === 1 ? 0 : pair[axis + 4 - shape.length]!), 0);
