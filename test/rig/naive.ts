/** Naive attention in f32 on the GPU: plain WGSL, one invocation an output element, no tricks. What our kernels' accuracy is measured against. */
import { hasten } from '../../src/gpu/device.ts';
import { LOWEST } from './tolerance.ts';

export const HEAD = /* wgsl */ `
struct Params { h: u32, hk: u32, n: u32, m: u32, d: u32, scale: f32, unused: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> extra: array<f32>;
`;
export const MAIN =
  '@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { let i = id.x; if (i >= params.count) { return; }';
export const KEEP = 'let keep = vec4f(a[0], b[0], c[0], extra[0]); if (keep.x == 12345.678) { extra[0] = keep.y; }'; // so that no binding is dropped from the layout

const SCORES = `${HEAD}${MAIN}${KEEP}
  let m = i % params.m; let row = i / params.m; let head = row / params.n;
  let key = ((head / params.h * params.hk + (head % params.h) * params.hk / params.h) * params.m + m) * params.d;
  var s = 0.0;
  for (var d = 0u; d < params.d; d++) { s += a[row * params.d + d] * b[key + d]; }
  s *= params.scale;
  let bias = c[i];
  out[i] = select(s + bias, ${LOWEST}, bias <= -3e38);
}`;
const SOFTMAX = `${HEAD}${MAIN}${KEEP}
  var largest = ${LOWEST};
  for (var m = 0u; m < params.m; m++) { largest = max(largest, a[i * params.m + m]); }
  var sum = 0.0;
  for (var m = 0u; m < params.m; m++) { let s = a[i * params.m + m]; if (s > -3e38) { sum += exp(s - largest); } }
  for (var m = 0u; m < params.m; m++) { let s = a[i * params.m + m]; if (s > -3e38) { out[i * params.m + m] = exp(s - largest) / sum; } }
  extra[i] = select(${LOWEST}, largest + log(sum), sum > 0.0);
}`;
const CONTEXT = `${HEAD}${MAIN}${KEEP}
  let e = i % params.d; let row = i / params.d; let head = row / params.n;
  let value = (head / params.h * params.hk + (head % params.h) * params.hk / params.h) * params.m;
  var sum = 0.0;
  for (var m = 0u; m < params.m; m++) { sum += a[row * params.m + m] * b[(value + m) * params.d + e]; }
  out[i] = sum;
}`;
const PROJECT = `${HEAD}${MAIN}${KEEP}
  let o = i % params.m; let row = i / params.m;
  var sum = 0.0;
  for (var d = 0u; d < params.d; d++) { sum += a[row * params.d + d] * b[d * params.m + o]; }
  out[i] = sum + c[o];
}`;

export interface NaiveSizes {
  readonly B: number;
  readonly H: number;
  readonly Hk: number;
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly Dv: number;
  readonly scale: number;
  readonly softcap: number;
}

export type F32 = Float32Array<ArrayBuffer>;

/** @param bias [B,H,N,M]: added to the scores; the lowest finite f32 excludes. Default none. */
export async function naiveScores(device: GPUDevice, p: NaiveSizes, q: F32, k: F32, bias?: F32): Promise<F32> {
  const count = p.B * p.H * p.N * p.M;
  const params = { h: p.H, hk: p.Hk, n: p.N, m: p.M, d: p.D, scale: p.scale, count };
  const none = new Float32Array(count);
  if (p.softcap === 0) return (await runShader(device, SCORES, params, [q, k, bias ?? none], count, 1)).out;
  const scores = softcapped((await runShader(device, SCORES, params, [q, k, none], count, 1)).out, p.softcap);
  return bias ? scores.map((s, i) => (bias[i]! <= -3e38 ? LOWEST : s + bias[i]!)) : scores;
}

/** cap · tanh(s / cap), rounded to f32 after each step, with an exact tanh: WGSL's own may be off by 1e-5, which large caps multiply. */
const softcapped = (scores: F32, cap: number): F32 =>
  scores.map((s) => Math.fround(cap) * Math.fround(Math.tanh(Math.fround(s / Math.fround(cap)))));

export async function naiveSoftmax(device: GPUDevice, scores: F32, length: number): Promise<{ weights: F32; lse: F32 }> {
  const rows = scores.length / length;
  const { out, extra } = await runShader(device, SOFTMAX, { m: length, count: rows }, [scores, ZERO, ZERO], scores.length, rows);
  return { weights: out, lse: extra };
}

export async function naiveContext(device: GPUDevice, p: NaiveSizes, weights: F32, v: F32): Promise<F32> {
  const count = p.B * p.H * p.N * p.Dv;
  return (await runShader(device, CONTEXT, { h: p.H, hk: p.Hk, n: p.N, m: p.M, d: p.Dv, count }, [weights, v, ZERO], count, 1)).out;
}

export async function naiveProject(device: GPUDevice, x: F32, w: F32, bias: F32, width: number, outWidth: number): Promise<F32> {
  const count = (x.length / width) * outWidth;
  return (await runShader(device, PROJECT, { m: outWidth, d: width, count }, [x, w, bias], count, 1)).out;
}

export async function naiveAttention(device: GPUDevice, p: NaiveSizes, q: F32, k: F32, v: F32, bias?: F32) {
  const scores = await naiveScores(device, p, q, k, bias);
  const { weights, lse } = await naiveSoftmax(device, scores, p.M);
  return { scores, weights, lse, out: await naiveContext(device, p, weights, v) };
}

const ZERO: F32 = new Float32Array(1);
const pipelines = new WeakMap<GPUDevice, Map<string, GPUComputePipeline>>();

/** Runs a shader on inputs of f32 numbers. */
export async function runShader(
  device: GPUDevice,
  code: string,
  params: Partial<Record<string, number>>,
  inputs: F32[],
  outLength: number,
  extraLength: number,
) {
  const { STORAGE, COPY_SRC, COPY_DST, UNIFORM, MAP_READ } = GPUBufferUsage;
  const made: GPUBuffer[] = [];
  const buffer = (size: number, usage: number, data?: ArrayBuffer | F32) => {
    const result = device.createBuffer({ size: Math.max(size, 4), usage: usage | COPY_DST });
    if (data) device.queue.writeBuffer(result, 0, data);
    made.push(result);
    return result;
  };
  const { h = 1, hk = 1, n = 1, m = 1, d = 1, scale = 1, count = 1 } = params;
  const uniforms = new ArrayBuffer(32);
  new Uint32Array(uniforms).set([h, hk, n, m, d, 0, 0, count]);
  new Float32Array(uniforms).set([scale], 5);
  const out = buffer(4 * outLength, STORAGE | COPY_SRC);
  const extra = buffer(4 * extraLength, STORAGE | COPY_SRC);
  const staging = buffer(4 * (outLength + extraLength), MAP_READ);
  const buffers = [buffer(32, UNIFORM, uniforms), ...inputs.map((data) => buffer(data.byteLength, STORAGE, data)), out, extra];

  const known = pipelines.get(device) ?? new Map<string, GPUComputePipeline>();
  pipelines.set(device, known);
  const pipeline =
    known.get(code) ?? device.createComputePipeline({ layout: 'auto', compute: { module: device.createShaderModule({ code }) } });
  known.set(code, pipeline);
  const entries = buffers.map((resource, binding) => ({ binding, resource: { buffer: resource } }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(Math.ceil(count / 64));
  pass.end();
  encoder.copyBufferToBuffer(out, 0, staging, 0, 4 * outLength);
  encoder.copyBufferToBuffer(extra, 0, staging, 4 * outLength, 4 * extraLength);
  device.queue.submit([encoder.finish()]);
  await hasten(device, staging.mapAsync(GPUMapMode.READ));
  const all = new Float32Array(staging.getMappedRange().slice(0));
  for (const each of made) each.destroy();
  return { out: all.slice(0, outLength), extra: all.slice(outLength) };
}
