// enable
// flash_backward_delta: delta = Σ dO ∘ out, and what else the kernels of the backward pass need of a row, in one table: one binding in place of four.
//
//   gradient, dO [B,H,N,Dv]    out [B,H,N,Dv]    lse [B,H,N]    key_lengths [B]    alibi_slopes [H]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope
//
// An invocation computes one row.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2, line 4.
// Parts: key_length.

alias Q = f32; // storage of gradient and out
const SIZE: u32 = 64; // invocations a workgroup

struct Params {
  heads: u32, // H
  n: u32,
  m: u32,
  dv: u32,
  count: u32, // rows
  width: u32, // invocations in x
  has_key_lengths: u32,
  has_alibi: u32,
  gradient_offset: u32, // offsets and strides in elements
  gradient_b: u32,
  gradient_h: u32,
  gradient_n: u32,
  out_offset: u32,
  out_b: u32,
  out_h: u32,
  out_n: u32,
  lse_offset: u32,
  lse_b: u32,
  lse_h: u32,
  lse_n: u32,
  key_lengths_offset: u32,
  alibi_offset: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<Q>;
@group(0) @binding(1) var<storage, read> out: array<Q>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(4) var<storage, read> alibi_slopes: array<f32>;
@group(0) @binding(5) var<storage, read_write> rows: array<vec4u>; // numbers by their bits: a count as f32 could be lost
@group(0) @binding(6) var<uniform> params: Params;

fn alibi_slope(h: u32) -> f32 {
  if (params.has_alibi == 0) {
    return 0.0;
  }
  return alibi_slopes[params.alibi_offset + h];
}

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y * params.width + id.x;
  if (row >= params.count) {
    return;
  }
  let n = row % params.n;
  let h = row / params.n % params.heads;
  let b = row / params.n / params.heads;
  let gradient_row = params.gradient_offset + b * params.gradient_b + h * params.gradient_h + n * params.gradient_n;
  let out_row = params.out_offset + b * params.out_b + h * params.out_h + n * params.out_n;
  var delta = 0.0; // summed in the order of the other kernels' dO · v: the roundings of both cancel in the difference
  for (var e = 0u; e < params.dv; e++) {
    delta = fma(f32(gradient[gradient_row + e]), f32(out[out_row + e]), delta);
  }
  let row_lse = lse[params.lse_offset + b * params.lse_b + h * params.lse_h + n * params.lse_n];
  rows[row] = vec4u(bitcast<u32>(row_lse), bitcast<u32>(delta), key_length(b), bitcast<u32>(alibi_slope(h)));
}
