/** The naive backward pass in f32 on the GPU: plain WGSL, one invocation an output element. What our kernels' accuracy is measured against. */
import { type F32, HEAD, KEEP, MAIN, type NaiveSizes, naiveAttention, runShader } from './naive.ts';

/** exp(s − lse), which is all that the backward pass has of the softmax. a: scores, b: lse */
const WEIGHTS = `${HEAD}${MAIN}${KEEP}
  let s = a[i];
  if (s > -3e38) { out[i] = exp(s - b[i / params.m]); }
}`;
/** delta of a row. a: dO, b: out */
const DELTA = `${HEAD}${MAIN}${KEEP}
  var sum = 0.0;
  for (var e = 0u; e < params.d; e++) { sum += a[i * params.d + e] * b[i * params.d + e]; }
  out[i] = sum;
}`;
/** dO·v of a pair, from which dS = weight · (it − delta). a: dO, b: v, c: weights, then deltas */
const PAIRS = `${HEAD}${MAIN}${KEEP}
  let m = i % params.m; let row = i / params.m; let head = row / params.n;
  let value = ((head / params.h * params.hk + (head % params.h) * params.hk / params.h) * params.m + m) * params.d;
  var sum = 0.0;
  for (var e = 0u; e < params.d; e++) { sum += a[row * params.d + e] * b[value + e]; }
  out[i] = c[i] * (sum - c[params.count + row]);
}`;
/** scale · dS k. a: dS, b: k */
const QUERY = `${HEAD}${MAIN}${KEEP}
  let d = i % params.d; let row = i / params.d; let head = row / params.n;
  let key = (head / params.h * params.hk + (head % params.h) * params.hk / params.h) * params.m;
  var sum = 0.0;
  for (var m = 0u; m < params.m; m++) { sum += a[row * params.m + m] * b[(key + m) * params.d + d]; }
  out[i] = sum * params.scale;
}`;
/** scale · the sum over the rows of the query heads that read a key head of factor · row. a: factors [B,H,N,M], b: rows [B,H,N,D] */
const KEY = `${HEAD}${MAIN}${KEEP}
  let d = i % params.d; let m = i / params.d % params.m; let head = i / params.d / params.m;
  let sharing = params.h / params.hk;
  var sum = 0.0;
  for (var x = 0u; x < sharing; x++) {
    let first = (head * sharing + x) * params.n;
    for (var n = 0u; n < params.n; n++) { sum += a[(first + n) * params.m + m] * b[(first + n) * params.d + d]; }
  }
  out[i] = sum * params.scale;
}`;

/** Gradients of attention without masks. @param store what storing does to out, from which delta comes: nothing in f32 */
export async function naiveBackward(
  device: GPUDevice,
  p: NaiveSizes,
  q: F32,
  k: F32,
  v: F32,
  gradient: F32,
  store: (out: F32) => F32 = (out) => out,
) {
  const { B, H, Hk, N, M, D, Dv, scale } = p;
  const { scores, lse, out } = await naiveAttention(device, p, q, k, v);
  const sizes = { h: H, hk: Hk, n: N, m: M };
  const one = new Float32Array(1);
  const outputOf = async (code: string, params: object, inputs: F32[], count: number) =>
    (await runShader(device, code, { ...sizes, ...params, count }, [...inputs, one, one].slice(0, 3), count, 1)).out;
  const weights = await outputOf(WEIGHTS, {}, [scores, lse], scores.length);
  const delta = await outputOf(DELTA, { d: Dv }, [gradient, store(out)], B * H * N);
  const both = new Float32Array(weights.length + delta.length);
  both.set(weights);
  both.set(delta, weights.length);
  let dS = await outputOf(PAIRS, { d: Dv }, [gradient, v, both], weights.length);
  if (p.softcap > 0) dS = dS.map((value, i) => value * Math.fround(1 - Math.fround(scores[i]! / p.softcap) ** 2)); // 1 − tanh²
  return {
    q: await outputOf(QUERY, { d: D, scale }, [dS, k], q.length),
    k: await outputOf(KEY, { d: D, scale }, [dS, q], B * Hk * M * D),
    v: await outputOf(KEY, { d: Dv, scale: 1 }, [weights, gradient], B * Hk * M * Dv),
  };
}
