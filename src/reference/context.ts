import type { Problem } from '../contract/problem.ts';

/**
 * Context vectors, the weighted sums of the values, in f64: the twin of `shaders/context.wgsl`.
 * A value with weight 0 is skipped, not multiplied, so that its content does not matter.
 * @param weights [B,H,N,M]
 * @param v       [B,Hk,M,Dv]
 * @returns [B,H,N,Dv]
 */
export function context({ B, H, Hk, N, M, Dv }: Problem, weights: ArrayLike<number>, v: ArrayLike<number>): Float64Array {
  const out = new Float64Array(B * H * N * Dv);
  if (out.length === 0) return out; // also where B is large
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const valueHead = b * Hk + Math.floor((h * Hk) / H);
      for (let n = 0; n < N; n++) {
        const row = (b * H + h) * N + n;
        for (let m = 0; m < M; m++) {
          const weight = weights[row * M + m]!;
          if (weight === 0) continue;
          for (let e = 0; e < Dv; e++) out[row * Dv + e]! += weight * v[(valueHead * M + m) * Dv + e]!;
        }
      }
    }
  }
  return out;
}
