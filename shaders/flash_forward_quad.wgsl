// enable
// flash_forward_quad: what flash_forward computes, for devices with subgroups: no workgroup memory, no barriers.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N]
//
// Four neighbouring lanes, a quad, share ROWS queries of one head and split the head's elements between them: of each 16 elements a lane holds
// 4, in registers, of q and of out (unnormalised until the end). A step takes KEYS keys: each lane's part of their dot products, summed over the quad by two
// swaps; the rows' new maximum; exp; weights · v for the lane's elements. Nothing depends on how wide a subgroup is.
// Its twin on the CPU is src/reference/attention.ts, its test test/attention.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1.

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
const SIZE: u32 = 64; // invocations a workgroup
const ROWS: u32 = 4; // queries a quad
const KEYS: u32 = 4; // keys a step, 4 at most
const D_VECS: u32 = 4; // vec4 of q a lane: 16 · D_VECS ≥ D
const DV_VECS: u32 = 4; // vec4 of out a lane: 16 · DV_VECS ≥ Dv
const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter
const DROPOUT: bool = false;
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDES: u32 = 0xff61b1e6; // bits of −3e38: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;


const_assert KEYS <= 4 && 4 % KEYS == 0 && SIZE % 4 == 0;

struct Params {
  heads: u32, // H
  key_heads: u32, // Hk
  n: u32,
  m: u32,
  d: u32,
  dv: u32,
  scale: f32,
  softcap: f32, // 0: off
  left: i32, // keys seen before and after a query's position, 2^30: all
  right: i32,
  causal_offset: i32, // position of query 0 among the keys
  is_lower_right: u32, // the offset is keys − n, and causal_offset is not used
  mask_kind: u32, // 0: none, 1: boolean, 2: f32 added, 3: f16 added
  has_key_lengths: u32,
  has_alibi: u32,
  has_sinks: u32,
  has_lse: u32,
  heads_offset: u32, // offsets and strides in elements
  heads_row: u32, // 1, or 2 where slopes and sinks are interleaved
  q_offset: u32,
  q_b: u32,
  q_h: u32,
  q_n: u32,
  k_offset: u32,
  k_b: u32,
  k_h: u32,
  k_m: u32,
  v_offset: u32,
  v_b: u32,
  v_h: u32,
  v_m: u32,
  mask_offset: u32,
  mask_b: u32,
  mask_h: u32,
  mask_n: u32,
  mask_m: u32,
  key_lengths_offset: u32,
  out_offset: u32,
  out_b: u32,
  out_h: u32,
  out_n: u32,
  seed_low: u32,
  seed_high: u32,
  drop_below: u32, // a weight whose random word is below this is dropped
  keep_factor: f32, // of the weights that are kept
}

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> v: array<K>;
@group(0) @binding(3) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(4) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> heads: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<Q>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

/// Which head a workgroup works on, and what its queries see.
struct Place {
  head: u32, // b · H + h
  b: u32,
  h: u32,
  length: u32, // keys that exist
  offset: i32, // position of query 0 among the keys
  slope: f32, // ALiBi's
}

fn key_length(b: u32) -> u32 {
  if (params.has_key_lengths == 0) {
    return params.m;
  }
  return min(key_lengths[params.key_lengths_offset + b], params.m);
}

/// The two halves of a product of two u32: low, high.
fn multiply(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffff) * (b & 0xffff);
  let middle = (a >> 16) * (b & 0xffff) + (low >> 16);
  let other = (a & 0xffff) * (b >> 16) + (middle & 0xffff);
  return vec2u(a * b, (a >> 16) * (b >> 16) + (middle >> 16) + (other >> 16));
}

/// Philox4x32-10: J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11.
fn philox(counter: vec4u) -> vec4u {
  var c = counter;
  var key = vec2u(params.seed_low, params.seed_high);
  for (var round = 0u; round < 10; round++) {
    let x = multiply(0xd2511f53, c.x);
    let z = multiply(0xcd9e8d57, c.z);
    c = vec4u(z.y ^ c.y ^ key.x, z.x, x.y ^ c.w ^ key.y, x.x);
    key += vec2u(0x9e3779b9, 0xbb67ae85);
  }
  return c;
}

/// scale · q·k → softcap.
fn scaled(dot: f32) -> f32 {
  let s = dot * params.scale;
  if (params.softcap > 0.0) {
    return params.softcap * tanh(clamp(s / params.softcap, -15.0, 15.0));
  }
  return s;
}

/// A score with the mask's element.
fn masked(s: f32, index: u32) -> f32 {
  if (params.mask_kind == 1) {
    let byte = (mask[index / 4] >> (8 * (index % 4))) & 0xff;
    return select(s, LOWEST, byte == 0);
  }
  if (params.mask_kind == 2) {
    let bits = mask[index];
    return select(s + bitcast<f32>(bits), LOWEST, bits >= EXCLUDES && bits <= MINUS_INFINITY);
  }
  if (params.mask_kind == 3) {
    let bits = (mask[index / 2] >> (16 * (index % 2))) & 0xffff;
    return select(s + unpack2x16float(bits).x, LOWEST, bits >= EXCLUDES_F16 && bits <= MINUS_INFINITY_F16);
  }
  return s;
}

/// Four elements of a row from d on; those past the end are 0.
fn load_q(row: u32, d: u32) -> vec4f {
  var value = vec4f();
  for (var i = 0u; i < 4; i++) {
    if (d + i < params.d) {
      value[i] = f32(q[row + d + i]);
    }
  }
  return value;
}

fn load_k(row: u32, d: u32) -> vec4f {
  var value = vec4f();
  for (var i = 0u; i < 4; i++) {
    if (d + i < params.d) {
      value[i] = f32(k[row + d + i]);
    }
  }
  return value;
}

fn load_v(row: u32, e: u32) -> vec4f {
  var value = vec4f();
  for (var i = 0u; i < 4; i++) {
    if (e + i < params.dv) {
      value[i] = f32(v[row + e + i]);
    }
  }
  return value;
}

/// The score of query n against key m; what it does not see is LOWEST.
fn score(dot: f32, place: Place, n: u32, m: u32) -> f32 {
  let position = i32(n) + place.offset;
  if (n >= params.n || m >= place.length || i32(m) > position + params.right || i32(m) < position - params.left) {
    return LOWEST;
  }
  let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
  return masked(scaled(dot) - place.slope * f32(abs(position - i32(m))), mask_row + m * params.mask_m);
}

/// exp(s − row_max) of a score that is not excluded.
fn weight_of(s: f32, row_max: f32) -> f32 {
  let bits = bitcast<u32>(s);
  return select(exp(s - row_max), 0.0, bits >= EXCLUDES && bits <= MINUS_INFINITY);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = group.x * (SIZE / 4) * ROWS;
  let own_n = first_n + index / 4 * ROWS; // the first of this quad's queries
  let lane = index % 4;
  let length = key_length(b);
  let offset = select(params.causal_offset, i32(length) - i32(params.n), params.is_lower_right != 0);
  var slope = 0.0;
  if (params.has_alibi != 0) {
    slope = heads[params.heads_offset + h * params.heads_row];
  }
  let place = Place(group.y, b, h, length, offset, slope);
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let key_head = h * params.key_heads / params.heads;
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The keys that some query of the workgroup sees; steps begin at multiples of 4, as dropout's random words do.
  let first_position = i32(first_n) + offset;
  let last_position = i32(min(first_n + (SIZE / 4) * ROWS, params.n) - 1) + offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(length))) / 4 * 4;
  let end = u32(clamp(last_position + params.right + 1, 0, i32(length)));

  var queries: array<vec4f, ROWS * D_VECS>; // [ROWS][D_VECS]
  for (var r = 0u; r < ROWS; r++) {
    for (var i = 0u; i < D_VECS; i++) {
      if (own_n + r < params.n) {
        queries[r * D_VECS + i] = load_q(q_base + (own_n + r) * params.q_n, 16 * i + 4 * lane);
      }
    }
  }
  var row_max: array<f32, ROWS>;
  var row_sum: array<f32, ROWS>;
  var sums: array<vec4f, ROWS * DV_VECS>; // out, unnormalised: [ROWS][DV_VECS]
  for (var r = 0u; r < ROWS; r++) {
    row_max[r] = LOWEST;
  }

  for (var first_m = begin; first_m < end; first_m += KEYS) {
    var dots = array<vec4f, ROWS>(); // [ROWS] against KEYS keys
    for (var j = 0u; j < KEYS; j++) {
      if (first_m + j < length) { // the same in the whole workgroup
        for (var i = 0u; i < D_VECS; i++) {
          let key = load_k(k_base + (first_m + j) * params.k_m, 16 * i + 4 * lane);
          for (var r = 0u; r < ROWS; r++) {
            dots[r][j] += dot(queries[r * D_VECS + i], key);
          }
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      dots[r] += quadSwapX(dots[r]);
      dots[r] += quadSwapY(dots[r]);
    }

    for (var r = 0u; r < ROWS; r++) {
      var s = vec4f(LOWEST);
      for (var j = 0u; j < KEYS; j++) {
        s[j] = score(dots[r][j], place, own_n + r, first_m + j);
      }
      let new_max = max(row_max[r], max(max(s.x, s.y), max(s.z, s.w)));
      if (new_max > row_max[r]) { // seldom, once the largest keys were seen
        let rise = exp(row_max[r] - new_max);
        row_sum[r] *= rise;
        for (var i = 0u; i < DV_VECS; i++) {
          sums[r * DV_VECS + i] *= rise;
        }
        row_max[r] = new_max;
      }
      var weights = vec4f();
      for (var j = 0u; j < KEYS; j++) {
        weights[j] = weight_of(s[j], new_max);
        row_sum[r] += weights[j]; // in the order of the products: what both lose by rounding cancels in their quotient
      }
      if (DROPOUT) {
        let words = philox(vec4u(first_m / 4, own_n + r, place.head, 0));
        for (var j = 0u; j < KEYS; j++) {
          weights[j] = select(weights[j] * params.keep_factor, 0.0, words[(first_m + j) % 4] < params.drop_below);
        }
      }
      dots[r] = weights;
    }

    for (var j = 0u; j < KEYS; j++) {
      if (first_m + j < length) {
        for (var i = 0u; i < DV_VECS; i++) {
          let value = load_v(v_base + (first_m + j) * params.v_m, 16 * i + 4 * lane);
          for (var r = 0u; r < ROWS; r++) {
            if (!SKIP_ZEROS || dots[r][j] != 0.0) {
              sums[r * DV_VECS + i] = fma(vec4f(dots[r][j]), value, sums[r * DV_VECS + i]);
            }
          }
        }
      }
    }
  }

  let out_base = params.out_offset + b * params.out_b + h * params.out_h;
  for (var r = 0u; r < ROWS; r++) {
    let n = own_n + r;
    if (n >= params.n) {
      break;
    }
    var total = row_sum[r];
    var largest = row_max[r];
    var factor = 1.0; // of out, before it is divided by the total
    if (params.has_sinks != 0) {
      let sink = heads[params.heads_offset + h * params.heads_row + params.heads_row - 1];
      largest = max(largest, sink);
      factor = exp(row_max[r] - largest);
      total = total * factor + exp(sink - largest);
    }
    var normaliser = 0.0; // of a row that sees neither key nor sink
    var value = LOWEST;
    if (total > 0.0) {
      normaliser = factor / total;
      value = largest + log(total);
    }
    for (var i = 0u; i < DV_VECS; i++) {
      let element = sums[r * DV_VECS + i] * normaliser;
      for (var c = 0u; c < 4; c++) {
        let e = 16 * i + 4 * lane + c;
        if (e < params.dv) {
          out[out_base + n * params.out_n + e] = Q(element[c]);
        }
      }
    }
    if (params.has_lse != 0 && lane == 0) {
      lse[place.head * params.n + n] = value;
    }
  }
}
