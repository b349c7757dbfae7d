// enable
// flash_merge: attention over the union of sets of keys, from attention over each of them and its log-sum-exp.
//
//   a_out [parts,B,H,N,Dv]   a_lse [parts,B,H,N]      the parts that one kernel wrote, or one part
//   b_out [B,H,N,Dv]         b_lse [B,H,N]            one more part, where there is one
//   out   [B,H,N,Dv]         lse   [B,H,N], dense: ln Σ exp lse_p
//
//   out = Σ exp(lse_p − m) · out_p / Σ exp(lse_p − m),   m = max lse_p
//
// flash_decode's parts are not normalised yet: exp(lse_p) is exp(maximum_p) · sum_p, and out_p as large as sum_p. A sink is one more part, without a value.
// A part whose row saw no key (log-sum-exp or maximum the lowest finite f32) has no share. An invocation computes one element.
// Source: T. Dao et al., FlashAttention, arXiv 2205.14135, section 3.1.
// Parts: excluded, logarithm.

alias A = f32; // storage of a_out
alias B = f32; // storage of b_out
alias O = f32; // storage of out
const SIZE: u32 = 64; // invocations a workgroup

struct Params {
  heads: u32, // H
  n: u32,
  dv: u32,
  count: u32, // B · H · N · Dv
  width: u32, // invocations in x
  parts: u32, // in a
  has_b: u32,
  has_sums: u32, // a's parts are not normalised: a_lse is [parts,2,B,H,N], maxima and sums
  has_sinks: u32,
  has_lse: u32,
  a_offset: u32, // offsets and strides in elements
  a_part: u32,
  a_b: u32,
  a_h: u32,
  a_n: u32,
  a_lse_offset: u32,
  a_lse_part: u32,
  b_offset: u32,
  b_b: u32,
  b_h: u32,
  b_n: u32,
  b_lse_offset: u32,
  sinks_offset: u32,
  out_offset: u32,
  out_b: u32,
  out_h: u32,
  out_n: u32,
}

@group(0) @binding(0) var<storage, read> a_out: array<A>;
@group(0) @binding(1) var<storage, read> a_lse: array<f32>;
@group(0) @binding(2) var<storage, read> b_out: array<B>;
@group(0) @binding(3) var<storage, read> b_lse: array<f32>;
@group(0) @binding(4) var<storage, read> sinks: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<O>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

/// exp(value − largest) of a part that saw a key.
fn share(value: f32, largest: f32) -> f32 {
  if (value <= EXCLUDED) {
    return 0.0;
  }
  return select(exp(value - largest), 1.0, value == largest); // exp(0) is not exactly 1 everywhere
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

  var largest = LOWEST;
  for (var part = 0u; part < params.parts; part++) {
    largest = max(largest, a_lse[params.a_lse_offset + part * params.a_lse_part + row]);
  }
  var of_b = LOWEST;
  if (params.has_b != 0) {
    of_b = b_lse[params.b_lse_offset + row];
    largest = max(largest, of_b);
  }
  var sink = LOWEST;
  if (params.has_sinks != 0) {
    sink = sinks[params.sinks_offset + h];
    largest = max(largest, sink);
  }

  // A part without a share is not read: what lies there does not matter.
  var total = 0.0;
  var sum = 0.0;
  for (var part = 0u; part < params.parts; part++) {
    let lse_at = params.a_lse_offset + part * params.a_lse_part + row;
    let of_part = share(a_lse[lse_at], largest);
    if (of_part > 0.0) {
      var weights = 1.0; // that the part's out is the sum of
      if (params.has_sums != 0) {
        weights = a_lse[lse_at + params.a_lse_part / 2];
      }
      total += of_part * weights;
      sum += of_part * f32(a_out[params.a_offset + part * params.a_part + b * params.a_b + h * params.a_h + n * params.a_n + e]);
    }
  }
  let share_b = share(of_b, largest);
  if (share_b > 0.0) {
    total += share_b;
    sum += share_b * f32(b_out[params.b_offset + b * params.b_b + h * params.b_h + n * params.b_n + e]);
  }
  total += share(sink, largest);

  var value = 0.0;
  if (!(total == 0.0)) { // also where the total is NaN
    value = sum / total;
  }
  out[params.out_offset + b * params.out_b + h * params.out_h + n * params.out_n + e] = O(value);
  if (e == 0 && params.has_lse != 0) {
    var merged = LOWEST;
    if (!(total == 0.0)) {
      merged = largest + logarithm(total);
    }
    lse[row] = merged;
  }
}
