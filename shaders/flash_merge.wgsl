// enable
// flash_merge: attention over the union of two sets of keys, from attention over each of them and its log-sum-exp.
//
//   a_out, b_out [B,H,N,Dv]     a_lse, b_lse [B,H,N]
//   out          [B,H,N,Dv]     lse          [B,H,N], dense: ln(exp a_lse + exp b_lse)
//
//   out = (exp(a_lse − m) · a_out + exp(b_lse − m) · b_out) / (exp(a_lse − m) + exp(b_lse − m)),   m = max(a_lse, b_lse)
//
// A part whose row saw no key (log-sum-exp the lowest finite f32) has no share. An invocation computes one element.
// Source: T. Dao et al., FlashAttention, arXiv 2205.14135, section 3.1.

alias A = f32; // storage of a_out
alias B = f32; // storage of b_out
alias O = f32; // storage of out
const SIZE: u32 = 64; // invocations a workgroup
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDES: f32 = -3e38;

struct Params {
  heads: u32, // H
  n: u32,
  dv: u32,
  count: u32, // B · H · N · Dv
  width: u32, // invocations in x
  has_b: u32, // 0: a alone, for a single part
  a_offset: u32, // offsets and strides in elements
  a_b: u32,
  a_h: u32,
  a_n: u32,
  a_lse_offset: u32,
  b_offset: u32,
  b_b: u32,
  b_h: u32,
  b_n: u32,
  b_lse_offset: u32,
}

@group(0) @binding(0) var<storage, read> a_out: array<A>;
@group(0) @binding(1) var<storage, read> a_lse: array<f32>;
@group(0) @binding(2) var<storage, read> b_out: array<B>;
@group(0) @binding(3) var<storage, read> b_lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<O>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

/// exp(value − largest) of a part that saw a key.
fn share(value: f32, largest: f32) -> f32 {
  if (value <= EXCLUDES) {
    return 0.0;
  }
  return exp(value - largest);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * params.width + id.x;
  if (id.x >= params.width || i >= params.count) {
    return;
  }
  let e = i % params.dv;
  let row = i / params.dv;
  let n = row % params.n;
  let h = row / params.n % params.heads;
  let b = row / params.n / params.heads;

  let of_a = a_lse[params.a_lse_offset + row];
  var of_b = LOWEST;
  if (params.has_b != 0) {
    of_b = b_lse[params.b_lse_offset + row];
  }
  let largest = max(of_a, of_b);
  let share_a = share(of_a, largest);
  let share_b = share(of_b, largest);
  let total = share_a + share_b;

  // A part without a share is not read: what lies there does not matter.
  var sum = 0.0;
  if (share_a > 0.0) {
    sum += share_a * f32(a_out[params.a_offset + b * params.a_b + h * params.a_h + n * params.a_n + e]);
  }
  if (share_b > 0.0) {
    sum += share_b * f32(b_out[params.b_offset + b * params.b_b + h * params.b_h + n * params.b_n + e]);
  }
  var value = 0.0;
  if (total > 0.0) {
    value = sum / total;
  }
  out[i] = O(value);
  if (e == 0) {
    var merged = LOWEST;
    if (total > 0.0) {
      merged = largest + log(total);
    }
    lse[row] = merged;
  }
}
