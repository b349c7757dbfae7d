enable subgroups;
// flash_backward_dq_quad: what flash_backward_dq computes, for GPUs with subgroups: no workgroup memory, no barriers, as in flash_forward_quad.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq  [B,H,N,D]
//
// LANES neighbours, one quad or several, share ROWS queries of one head and split the head's elements between them: of each 4 · LANES a lane
// holds 4, in registers, of q, of gradient and of dq. A step takes one key: each lane's parts of q·k and of dO·v; swaps that sum them so that each
// lane has both of one row, row lane % ROWS, and makes its dA; broadcasts of dA to the quad; dA · k for the lane's elements.
// Nothing depends on how wide a subgroup is.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Q_UNIT = Q; // with VEC4 vec4<Q>: what the bindings are arrays of
alias K_UNIT = K;
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const WIDTH: u32 = 0; // of a subgroup; 0: the compiler chooses. Above 0 @subgroup_size(WIDTH) stands before main
const SIZE: u32 = 64; // invocations a workgroup
const LANES: u32 = 4; // invocations that share rows: 4, 8 or 16, in one subgroup
const ROWS: u32 = 2; // queries that they share: 1, 2 or 4
const D_VECS: u32 = 4; // vec4 of a row of q and k that a lane holds; 4 · LANES · D_VECS ≥ D
const DV_VECS: u32 = 4; // the same of v and gradient
const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter
const DROPOUT: bool = false;
const TILE_N: u32 = (SIZE / LANES) * ROWS; // queries a workgroup
const ARE_HALVES: bool = f32(Q(2049.0)) != 2049.0 && f32(K(2049.0)) != 2049.0; // whether both types are f16, which rounds 2049 to 2048
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDED: f32 = -3e38; // a score from here down is excluded
const EXCLUDES: u32 = 0xff61b1e6; // its bits: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;

const_assert SIZE % LANES == 0 && (LANES == 4 || LANES == 8 || LANES == 16) && 4 % ROWS == 0;

struct Params {
  grid_x: u32, // workgroups that the work takes in x, y and z; the dispatch folds a grid that is too long for one dimension
  grid_y: u32,
  grid_z: u32,
  heads: u32, // H
  key_heads: u32, // Hk
  n: u32,
  m: u32,
  d: u32,
  dv: u32,
  scale_before: f32, // a power of 2 up to 1 that multiplies q before the products, so that they overflow only where the scores do
  scale_after: f32, // what is left of the scale: it multiplies the products
  softcap: f32, // 0: off
  left: i32, // keys seen before and after a query's position, 2^30: all
  right: i32,
  causal_offset: i32, // position of query 0 among the keys
  is_lower_right: u32, // the offset is keys − n, and causal_offset is not used
  mask_kind: u32, // 0: none, 1: boolean, 2: f32 added, 3: f16 added
  q_offset: u32, // offsets and strides in elements
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
  gradient_offset: u32,
  gradient_b: u32,
  gradient_h: u32,
  gradient_n: u32,
  mask_offset: u32,
  mask_b: u32,
  mask_h: u32,
  mask_n: u32,
  mask_m: u32,
  seed_low: u32,
  seed_high: u32,
  drop_below: u32, // a weight whose random word is below this is dropped
  keep_factor: f32, // of the weights that are kept
  dq_offset: u32,
  dq_b: u32,
  dq_h: u32,
  dq_n: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> gradient: array<Q_UNIT>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dq: array<Q_UNIT>;
@group(0) @binding(7) var<uniform> params: Params;

/// Which head is worked on, and what its queries see.
struct Place {
  head: u32, // b · H + h
  b: u32,
  h: u32,
  length: u32, // keys that exist
  offset: i32, // position of query 0 among the keys
  slope: f32, // ALiBi's
}

fn place_of(b: u32, h: u32) -> Place {
  let head = b * params.heads + h;
  let row = rows[head * params.n];
  let offset = select(params.causal_offset, i32(row.z) - i32(params.n), params.is_lower_right != 0);
  return Place(head, b, h, row.z, offset, bitcast<f32>(row.w));
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

/// Four elements of a row from d on; past the row's end its last ones again, which meet a 0 in what an invocation holds, or are never stored.
fn load_q(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.d - 1)); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_k(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.d - 1)); return vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])); }
fn load_v(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.dv - 1)); return vec4f(f32(v[e.x]), f32(v[e.y]), f32(v[e.z]), f32(v[e.w])); }
fn load_gradient(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.dv - 1)); return vec4f(f32(gradient[e.x]), f32(gradient[e.y]), f32(gradient[e.z]), f32(gradient[e.w])); }
fn store_dq(row: u32, d: u32, value: vec4f) { for (var i = 0u; i < 4 && d + i < params.d; i++) { dq[row + d + i] = Q(value[i]); } }

/// params.scale_before, as a constant where it is 1: with two f16, whose products are far from overflow. Compilers then keep the f16 as they are.
fn scale_before() -> f32 {
  return select(params.scale_before, 1.0, ARE_HALVES);
}

/// A row's part that a lane holds, 0 past the row's end.
fn inside(value: vec4f, d: u32, size: u32) -> vec4f {
  return select(vec4f(), value, d + vec4u(0, 1, 2, 3) < vec4u(size));
}

fn add_dot(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

fn add_weighted(sum: vec4f, weight: f32, values: vec4f) -> vec4f {
  if (SKIP_ZEROS && weight == 0.0) {
    return sum;
  }
  return fma(vec4f(weight), values, sum);
}

/// Sums the lanes' parts of all rows; a lane gets row lane % ROWS.
fn own_sum(parts: vec4f, lane: u32) -> f32 {
  let ordered = vec4f(parts[0], parts[1 % ROWS], parts[2 % ROWS], parts[3 % ROWS]);
  let is_odd = (lane & 1) != 0;
  let pair = select(ordered.xz, ordered.yw, is_odd) + quadSwapX(select(ordered.yw, ordered.xz, is_odd));
  let is_below = (lane & 2) != 0;
  var sum = select(pair.x, pair.y, is_below) + quadSwapY(select(pair.y, pair.x, is_below));
  if (LANES > 4) {
    sum += subgroupShuffleXor(sum, 4);
  }
  if (LANES > 8) {
    sum += subgroupShuffleXor(sum, 8);
  }
  return sum;
}

/// What the lanes of a quad have of their own rows: the r-th is row r's.
fn all_rows(own: f32) -> vec4f {
  return vec4f(quadBroadcast(own, 0), quadBroadcast(own, 1), quadBroadcast(own, 2), quadBroadcast(own, 3));
}

/// A score with the mask's element, which is not loaded where the key is not seen.
fn masked(s: f32, is_seen: bool, index: u32) -> f32 {
  if (!is_seen) {
    return LOWEST;
  }
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

/// cap · tanh(s / cap), and its derivative 1 − tanh².
struct Softcapped {
  s: f32,
  derivative: f32,
}

/// To a few units in the last place whatever the cap: see softcapped in flash_forward. With g = e / (1 + e), e = exp(−2x), tanh is 1 − 2g and its
/// derivative 4g · (1 − g), which keeps its digits where tanh is near 1.
fn softcapped(s: f32) -> Softcapped {
  let x = clamp(s / params.softcap, -60.0, 60.0);
  let e = exp(-2.0 * abs(x));
  let g = e / (1.0 + e);
  let x2 = x * x;
  let is_near = abs(x) < 0.625;
  let t = select(sign(x) * (1.0 - 2.0 * g), x + x * x2 * (-0.33333281 + x2 * (0.13331442 + x2 * (-0.053739712 + x2 * (0.020639079 - 0.0057049785 * x2)))), is_near);
  return Softcapped(params.softcap * t, select(4.0 * g * (1.0 - g), 1.0 - t * t, is_near));
}

/// dA of query n and key m, from their q·k and dO·v; exactly 0 where the query does not see the key.
fn score_gradient(dot: f32, product: f32, place: Place, n: u32, m: u32, row: vec2f, factor: f32) -> f32 {
  let position = i32(n) + place.offset;
  let is_seen = n < params.n && m < place.length && i32(m) <= position + params.right && i32(m) >= position - params.left;
  var s = dot * params.scale_after;
  var derivative = 1.0; // of the softcap
  if (params.softcap > 0.0) {
    let capped = softcapped(s);
    s = capped.s;
    derivative = capped.derivative;
  }
  s -= place.slope * f32(abs(position - i32(m)));
  if (params.mask_kind != 0) {
    let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
    s = masked(s, is_seen, mask_row + m * params.mask_m);
  }
  let is_excluded = bitcast<u32>(s) >= EXCLUDES && bitcast<u32>(s) <= MINUS_INFINITY;
  let weight = select(0.0, exp(s - row.x), is_seen && !is_excluded);
  return select(0.0, weight * (factor * product - row.y) * derivative, weight != 0.0);
}

/// lse and delta of query n; the row of a query that does not exist is never used.
fn row_of(head: u32, n: u32) -> vec2f {
  return bitcast<vec2f>(rows[head * params.n + min(n, params.n - 1)].xy);
}

/// A workgroup's place in a grid of params.grid_x × grid_y × grid_z. One beyond its end gets a place past the end of a row, where nothing is stored:
/// a return would take compilers for Apple's GPUs 24 registers more in the loop (Mesa 26.1, 30 Nov 2026).
fn grid_place(workgroup: vec3u, counts: vec3u) -> vec3u {
  let index = workgroup.x + counts.x * (workgroup.y + counts.y * workgroup.z);
  let row = index / params.grid_x;
  return select(vec3u(params.grid_x, 0, 0), vec3u(index % params.grid_x, row % params.grid_y, row / params.grid_y), row / params.grid_y < params.grid_z);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_place(workgroup, counts);
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
  let lane = index % LANES;
  let lanes_n = first_n + index / LANES * ROWS; // the first of its group's queries
  let own_n = lanes_n + lane % ROWS; // the one whose dA this lane makes
  let place = place_of(b, h);
  let key_head = h * params.key_heads / params.heads;
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;
  var k_row = params.k_offset + b * params.k_b + key_head * params.k_h;
  var v_row = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The keys that some query of the workgroup sees, and among them those that every one sees, with scores that nothing changes.
  let first_position = i32(first_n) + place.offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + place.offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(place.length)));
  let end = u32(clamp(last_position + params.right + 1, 0, i32(place.length)));
  let is_plain = params.mask_kind == 0 && params.softcap == 0.0 && place.slope == 0.0 && !DROPOUT;
  let whole_begin = last_position - params.left;
  let whole_end = first_position + params.right;

  var queries: array<vec4f, ROWS * D_VECS>; // [ROWS][D_VECS]
  var gradients: array<vec4f, ROWS * DV_VECS>; // [ROWS][DV_VECS]
  var sums: array<vec4f, ROWS * D_VECS>; // dq / scale: [ROWS][D_VECS]
  for (var r = 0u; r < ROWS; r++) {
    let n = min(lanes_n + r, params.n - 1); // rows past the last are computed, and not stored
    for (var i = 0u; i < D_VECS; i++) {
      let d = 4 * (LANES * i + lane);
      queries[r * D_VECS + i] = inside(load_q(q_base + n * params.q_n, d), d, params.d) * scale_before();
    }
    for (var i = 0u; i < DV_VECS; i++) {
      let e = 4 * (LANES * i + lane);
      gradients[r * DV_VECS + i] = inside(load_gradient(gradient_base + n * params.gradient_n, e), e, params.dv);
    }
  }
  let row = row_of(place.head, own_n);
  var words = vec4u(); // dropout's random words of keys 4 · words_of to 4 · words_of + 3
  var words_of = 0xffffffffu;

  k_row += begin * params.k_m;
  v_row += begin * params.v_m;
  for (var m = begin; m < end; m++) {
    var key: array<vec4f, D_VECS>;
    var dots = vec4f();
    for (var i = 0u; i < D_VECS; i++) {
      key[i] = load_k(k_row, 4 * (LANES * i + lane));
      for (var r = 0u; r < ROWS; r++) {
        dots[r] = add_dot(dots[r], queries[r * D_VECS + i], key[i]);
      }
    }
    var products = vec4f();
    for (var i = 0u; i < DV_VECS; i++) {
      let value = load_v(v_row, 4 * (LANES * i + lane));
      for (var r = 0u; r < ROWS; r++) {
        products[r] = add_dot(products[r], gradients[r * DV_VECS + i], value);
      }
    }
    let dot = own_sum(dots, lane);
    let product = own_sum(products, lane);
    let is_whole = is_plain && i32(m) >= whole_begin && i32(m) <= whole_end;
    var own = 0.0;
    if (is_whole) {
      let s = dot * params.scale_after;
      own = select(exp(s - row.x) * (product - row.y), 0.0, s <= EXCLUDED);
    } else {
      var factor = 1.0; // dropout's
      if (DROPOUT) {
        if (words_of != m / 4) {
          words = philox(vec4u(m / 4, own_n, place.head, 0));
          words_of = m / 4;
        }
        factor = select(params.keep_factor, 0.0, words[m % 4] < params.drop_below);
      }
      own = score_gradient(dot, product, place, own_n, m, row, factor);
    }
    let weights = all_rows(own);
    for (var r = 0u; r < ROWS; r++) {
      for (var i = 0u; i < D_VECS; i++) {
        sums[r * D_VECS + i] = add_weighted(sums[r * D_VECS + i], weights[r], key[i]);
      }
    }
    k_row += params.k_m;
    v_row += params.v_m;
  }

  let base = params.dq_offset + b * params.dq_b + h * params.dq_h;
  for (var r = 0u; r < ROWS; r++) {
    for (var i = 0u; i < D_VECS; i++) {
      if (lanes_n + r < params.n) {
        store_dq(base + (lanes_n + r) * params.dq_n, 4 * (LANES * i + lane), sums[r * D_VECS + i] * params.scale_after * params.scale_before);
      }
    }
  }
}
