import type { ScoresForm } from '../contract/options.ts';
import type { Problem } from '../contract/problem.ts';

/** The score of an excluded key: the lowest finite f32. */
export const LOWEST = -3.4028234663852886e38;
/** An element of an additive mask excludes the key from this value down. A score from this value down counts as excluded. */
const EXCLUDES = -3e38;

export interface ScoresInputs {
  readonly q: ArrayLike<number>; // [B,H,N,D]
  readonly k: ArrayLike<number>; // [B,Hk,M,D]
  readonly mask?: ArrayLike<number> | undefined; // laid out as problem.mask, with strides of 0 along broadcast axes
  readonly keyLengths?: ArrayLike<number> | undefined; // [B]
  readonly alibiSlopes?: ArrayLike<number> | undefined; // [H]
}

export const isExcluded = (score: number): boolean => score <= EXCLUDES;

/** How many keys exist for batch element b. */
export const keyLength = ({ M }: Problem, b: number, keyLengths: ArrayLike<number> | undefined): number =>
  keyLengths ? Math.min(keyLengths[b]!, M) : M;

/**
 * Scores of every query against every key, in f64: the twin of `shaders/scores.wgsl`.
 * The steps are scale · q kᵀ, then softcap, then ALiBi, mask, band and key lengths. `form` names the last step to apply; key lengths apply to all forms.
 * @returns [B,H,N,M]
 */
export function scores(
  problem: Problem,
  { q, k, mask, keyLengths, alibiSlopes }: ScoresInputs,
  form: Exclude<ScoresForm, 'weights'> = 'masked',
): Float64Array {
  const { B, H, Hk, N, M, D, scale, left, right } = problem;
  const softcap = form === 'raw' ? 0 : problem.softcap;
  const out = new Float64Array(B * H * N * M).fill(LOWEST);
  if (out.length === 0) return out; // also where B is large
  for (let b = 0; b < B; b++) {
    const length = keyLength(problem, b, keyLengths);
    const offset = problem.causalOffset === 'lower-right' ? length - N : problem.causalOffset;
    for (let h = 0; h < H; h++) {
      const keyHead = Math.floor((h * Hk) / H);
      const slope = alibiSlopes?.[h] ?? 0;
      for (let n = 0; n < N; n++) {
        const query = ((b * H + h) * N + n) * D;
        const row = ((b * H + h) * N + n) * M;
        const position = n + offset;
        const begin = form === 'masked' ? Math.max(0, position - left) : 0;
        const end = form === 'masked' ? Math.min(length, position + right + 1) : length;
        for (let m = begin; m < end; m++) {
          const bias = form === 'masked' ? maskAt(problem, mask, b, h, n, m) : 0;
          if (isExcluded(bias)) continue;
          const key = ((b * Hk + keyHead) * M + m) * D;
          let sum = 0;
          for (let d = 0; d < D; d++) sum += q[query + d]! * k[key + d]!;
          const score = scale * sum;
          const capped = softcap > 0 ? softcap * Math.tanh(score / softcap) : score;
          out[row + m] = (form === 'masked' ? capped - slope * Math.abs(position - m) : capped) + bias;
        }
      }
    }
  }
  return out;
}

/** What the mask adds to a score: −∞ where a boolean mask is 0. */
function maskAt({ mask: layout }: Problem, mask: ArrayLike<number> | undefined, b: number, h: number, n: number, m: number): number {
  if (!layout || !mask) return 0;
  const [sb, sh, sn, sm] = layout.strides as [number, number, number, number];
  const value = mask[b * sb + h * sh + n * sn + m * sm]!;
  if (layout.dtype === 'bool') return value === 0 ? -Infinity : 0;
  return value;
}
