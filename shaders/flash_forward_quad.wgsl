enable subgroups;
// flash_forward_quad: what flash_forward computes, for GPUs with subgroups: no workgroup memory, no barriers.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N]
//
// LANES neighbours, one quad or several, share ROWS queries of one head and split the head's elements between them: of each 4 · LANES a lane
// holds 4, in registers, of q and of out (unnormalised until the end). A step takes one key: each lane's part of the dot products; swaps that
// sum them so that each lane has the score of one row, row lane % ROWS, whose maximum and sum it keeps; broadcasts of the weights to the quad;
// weights · v for the lane's elements. Keys that every query sees, with scores that nothing changes, run in a loop without code for masks.
// Nothing depends on how wide a subgroup is. Compilers for GPUs keep all of it in registers where no loop takes two keys at once.
// Its twin on the CPU is src/reference/attention.ts, its test test/attention.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1.

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
alias Q_UNIT = Q; // with VEC4 vec4<Q>: what the bindings are arrays of
alias K_UNIT = K;
const VEC4: bool = false; // offsets, strides, D and DV are multiples of 4: other Q_UNIT, K_UNIT, load_q, load_k, load_v, store_out
const WIDTH: u32 = 0; // of a subgroup; 0: the compiler chooses. Above 0 @subgroup_size(WIDTH) stands before main
const SIZE: u32 = 64; // invocations a workgroup
const LANES: u32 = 4; // invocations that share rows: 4, 8 or 16, in one subgroup
const ROWS: u32 = 4; // queries that they share: 1, 2 or 4
const D: u32 = 64; // head size of q and k
const DV: u32 = 64; // head size of v and out
const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter
const DROPOUT: bool = false;
const D_VECS: u32 = (D + 4 * LANES - 1) / (4 * LANES); // vec4 of a row of q that a lane holds
const DV_VECS: u32 = (DV + 4 * LANES - 1) / (4 * LANES); // the same of out
const TILE_N: u32 = (SIZE / LANES) * ROWS; // queries a workgroup
const ARE_HALVES: bool = f32(Q(2049.0)) != 2049.0 && f32(K(2049.0)) != 2049.0; // whether both types are f16, which rounds 2049 to 2048
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDES: u32 = 0xff61b1e6; // bits of −3e38: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;
const HEAVY: f32 = 256.0; // a weight above this makes its row's maximum follow: up to here sums lose nothing, and steps that rescale are few
const STEEPEST: f32 = 80.0; // a weight's exponent until then: its reciprocal is a normal f32

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

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(4) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> heads: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<Q_UNIT>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

/// Which head a workgroup works on, and what its queries see.
struct Place {
  head: u32, // b · H + h
  b: u32,
  h: u32,
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

/// cap · tanh(s / cap), to a few units in the last place whatever the cap. WGSL allows its own tanh an absolute error of 1e-5.
/// Near 0 tanh(x) is x + x³ · P(x²) with a polynomial that was fitted for |x| < 0.625, where its error is below 2^-27. Beyond it tanh is 1 − 2e / (1 + e), e = exp(−2x).
fn softcapped(s: f32) -> f32 {
  let x = clamp(s / params.softcap, -60.0, 60.0);
  let x2 = x * x;
  let near = s + s * x2 * (-0.33333281 + x2 * (0.13331442 + x2 * (-0.053739712 + x2 * (0.020639079 - 0.0057049785 * x2))));
  let e = exp(-2.0 * abs(x));
  let far = sign(x) * params.softcap * (1.0 - 2.0 * e / (1.0 + e));
  return select(far, near, abs(x) < 0.625);
}

/// scale · q·k → softcap.
fn scaled(dot: f32) -> f32 {
  let s = dot * params.scale_after;
  if (params.softcap > 0.0) {
    return softcapped(s);
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

/// The vec-th four elements of a row. Past the row's end its last ones again, which meet a 0 in q, or go to elements of out that nobody stores.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, D); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_k(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, D); return vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])); }
fn load_v(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, DV); return vec4f(f32(v[e.x]), f32(v[e.y]), f32(v[e.z]), f32(v[e.w])); }
fn store_out(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < DV) { out[row + 4 * vec + c] = Q(value[c]); } } }

fn elements(vec: u32, size: u32) -> vec4u {
  let e = 4 * vec + vec4u(0, 1, 2, 3);
  return select(min(e, vec4u(size - 1)), e, size % (4 * LANES) == 0);
}

/// The number of a vec4 in a row of whole ones.
fn inside(vec: u32, size: u32) -> u32 {
  return select(min(vec, size / 4 - 1), vec, size % (4 * LANES) == 0);
}

/// params.scale_before, as a constant where it is 1: with two f16, whose products are far from overflow. Compilers then keep the f16 as they are.
fn scale_before() -> f32 {
  return select(params.scale_before, 1.0, ARE_HALVES);
}

/// A row's part that a lane holds, 0 past the row's end.
fn load_query(row: u32, vec: u32) -> vec4f {
  return select(vec4f(), load_q(row, vec) * scale_before(), 4 * vec + vec4u(0, 1, 2, 3) < vec4u(D));
}

/// The score of query n against a key m that exists; what it does not see is LOWEST.
fn score(dot: f32, place: Place, n: u32, m: u32) -> f32 {
  let position = i32(n) + place.offset;
  if (n >= params.n || i32(m) > position + params.right || i32(m) < position - params.left) {
    return LOWEST;
  }
  let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
  return masked(scaled(dot) - place.slope * f32(abs(position - i32(m))), mask_row + m * params.mask_m);
}

/// What a lane keeps of its own row.
struct Row {
  n: u32,
  largest: f32, // score; it lags behind until a weight is HEAVY
  sum: f32, // of the weights, relative to exp(largest) as out is
  words: vec4u, // dropout's random words of keys 4 · words_of to 4 · words_of + 3
  words_of: u32,
}

fn add_dot(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

/// Sums the lanes' parts of all rows; a lane gets row lane % ROWS.
fn own_sum(parts: vec4f, lane: u32) -> f32 {
  let rows = vec4f(parts[0], parts[1 % ROWS], parts[2 % ROWS], parts[3 % ROWS]);
  let is_odd = (lane & 1) != 0;
  let pair = select(rows.xz, rows.yw, is_odd) + quadSwapX(select(rows.yw, rows.xz, is_odd));
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

/// q·k of the lane's own row.
fn own_dot(queries: ptr<function, array<vec4f, ROWS * D_VECS>>, row: u32, lane: u32) -> f32 {
  var parts = vec4f();
  for (var i = 0u; i < D_VECS; i++) {
    let key = load_k(row, LANES * i + lane);
    for (var r = 0u; r < ROWS; r++) {
      parts[r] = add_dot(parts[r], (*queries)[r * D_VECS + i], key);
    }
  }
  return own_sum(parts, lane);
}

/// Takes the own row's score of key m into the softmax; gives the weights of all rows.
fn soften(own: ptr<function, Row>, sums: ptr<function, array<vec4f, ROWS * DV_VECS>>, s: f32, is_seen: bool) -> vec4f {
  var weight = select(0.0, exp(min(s - (*own).largest, STEEPEST)), is_seen);
  var weights = all_rows(weight);
  if (max(max(weights.x, weights.y), max(weights.z, weights.w)) > HEAVY) { // seldom, once a large key was seen
    for (var r = 0u; r < ROWS; r++) {
      let rise = select(1.0, 1.0 / weights[r], weights[r] > HEAVY);
      weights[r] *= rise;
      for (var i = 0u; i < DV_VECS; i++) {
        (*sums)[r * DV_VECS + i] *= rise;
      }
    }
    if (weight > HEAVY) {
      (*own).largest = s;
      (*own).sum /= weight;
      weight = 1.0;
    }
  }
  (*own).sum += weight;
  return weights;
}

/// What dropout leaves of the weights of key m.
fn dropped(own: ptr<function, Row>, weights: vec4f, head: u32, m: u32) -> vec4f {
  if ((*own).words_of != m / 4) {
    (*own).words = philox(vec4u(m / 4, (*own).n, head, 0));
    (*own).words_of = m / 4;
  }
  return weights * all_rows(select(params.keep_factor, 0.0, (*own).words[m % 4] < params.drop_below));
}

/// out += weights · v.
fn add_value(sums: ptr<function, array<vec4f, ROWS * DV_VECS>>, weights: vec4f, row: u32, lane: u32, skips_zeros: bool) {
  var value: array<vec4f, DV_VECS>;
  for (var i = 0u; i < DV_VECS; i++) {
    value[i] = load_v(row, LANES * i + lane);
  }
  for (var r = 0u; r < ROWS; r++) {
    if (!skips_zeros || weights[r] != 0.0) {
      for (var i = 0u; i < DV_VECS; i++) {
        (*sums)[r * DV_VECS + i] = fma(vec4f(weights[r]), value[i], (*sums)[r * DV_VECS + i]);
      }
    }
  }
}

/// ln x, to a few units in the last place. WGSL allows its own log an absolute error of 2^-21 for x from 0.5 to 2, where ln x may be tiny.
/// There ln x is 2 · artanh(t), t = (x − 1) / (x + 1), by a polynomial that was fitted for |t| < 1/3, where its error is below 2^-27.
fn logarithm(x: f32) -> f32 {
  let t = (x - 1.0) / (x + 1.0);
  let t2 = t * t;
  let near = 2.0 * t + t * t2 * (0.66666418 + t2 * (0.40021527 + t2 * (0.28001803 + 0.28011993 * t2)));
  return select(log(x), near, (x > 0.5) & (x < 2.0));
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
  let own_n = lanes_n + lane % ROWS; // the one whose maximum and sum this lane keeps
  let length = key_length(b);
  let offset = select(params.causal_offset, i32(length) - i32(params.n), params.is_lower_right != 0);
  var slope = 0.0;
  if (params.has_alibi != 0) {
    slope = heads[params.heads_offset + h * params.heads_row];
  }
  let place = Place(group.y, b, h, offset, slope);
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let key_head = h * params.key_heads / params.heads;
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The keys that some query of the workgroup sees, and among them those that every one sees, with scores that nothing changes.
  let first_position = i32(first_n) + offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(length)));
  let end = u32(clamp(last_position + params.right + 1, i32(begin), i32(length)));
  let is_plain = params.mask_kind == 0 && params.softcap == 0.0 && params.has_alibi == 0;
  let whole_begin = u32(clamp(last_position - params.left, i32(begin), i32(end)));
  let whole_end = select(whole_begin, u32(clamp(first_position + params.right + 1, i32(whole_begin), i32(end))), is_plain);

  var queries: array<vec4f, ROWS * D_VECS>; // [ROWS][D_VECS]
  for (var r = 0u; r < ROWS; r++) {
    let row = q_base + min(lanes_n + r, params.n - 1) * params.q_n; // rows past the last are computed, and not stored
    for (var i = 0u; i < D_VECS; i++) {
      queries[r * D_VECS + i] = load_query(row, LANES * i + lane);
    }
  }
  var sums: array<vec4f, ROWS * DV_VECS>; // out, unnormalised: [ROWS][DV_VECS]
  var own = Row(own_n, LOWEST, 0.0, vec4u(), 0xffffffff);

  var k_row = k_base + whole_begin * params.k_m;
  var v_row = v_base + whole_begin * params.v_m;
  var dot = 0.0;
  if (whole_begin < whole_end) {
    dot = own_dot(&queries, k_row, lane);
  }
  for (var m = whole_begin; m < whole_end; m++) {
    var weights = soften(&own, &sums, dot * params.scale_after, true);
    if (DROPOUT) {
      weights = dropped(&own, weights, place.head, m);
    }
    add_value(&sums, weights, v_row, lane, false);
    k_row += select(0, params.k_m, m + 1 < whole_end);
    v_row += params.v_m;
    dot = own_dot(&queries, k_row, lane); // the next key's here, beside this one's value: one wait for both
  }

  let others = end - begin - (whole_end - whole_begin); // before and after the whole ones
  for (var i = 0u; i < others; i++) {
    let m = select(end - others + i, begin + i, begin + i < whole_begin);
    let s = score(own_dot(&queries, k_base + m * params.k_m, lane), place, own_n, m);
    let is_excluded = bitcast<u32>(s) >= EXCLUDES && bitcast<u32>(s) <= MINUS_INFINITY;
    var weights = soften(&own, &sums, s, !is_excluded);
    if (DROPOUT) {
      weights = dropped(&own, weights, place.head, m);
    }
    add_value(&sums, weights, v_base + m * params.v_m, lane, SKIP_ZEROS);
  }

  var total = own.sum;
  var largest = own.largest;
  var factor = 1.0; // of out, before it is divided by the total
  if (params.has_sinks != 0) {
    let sink = heads[params.heads_offset + h * params.heads_row + params.heads_row - 1];
    largest = max(largest, sink);
    factor = exp(own.largest - largest);
    total = total * factor + exp(sink - largest);
  }
  var normaliser = 0.0; // of a row that sees neither key nor sink
  var own_lse = LOWEST;
  if (total > 0.0) {
    normaliser = factor / total;
    own_lse = largest + logarithm(total);
  }
  let normalisers = all_rows(normaliser);
  let out_base = params.out_offset + b * params.out_b + h * params.out_h;
  for (var r = 0u; r < ROWS; r++) {
    for (var i = 0u; i < DV_VECS; i++) {
      if (lanes_n + r < params.n) {
        store_out(out_base + (lanes_n + r) * params.out_n, LANES * i + lane, sums[r * DV_VECS + i] * normalisers[r]);
      }
    }
  }
  if (params.has_lse != 0 && lane < ROWS && own_n < params.n) {
    lse[place.head * params.n + own_n] = own_lse;
  }
}
