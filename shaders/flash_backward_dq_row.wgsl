enable subgroups;
// flash_backward_dq_row: what flash_backward_dq computes, for devices that run on the CPU: whole rows in one invocation, as in flash_forward_row.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq  [B,H,N,D]
//
// An invocation holds ROWS queries, their rows of gradient and of dq. Four neighbours, a quad, take four keys a step: each loads one with its
// value, and gets the other three by quad swaps; the x-th key that a lane meets is first_m + (lane ^ x). For each step: q kᵀ and dO vᵀ, from them
// dA, and its products with the keys. Indices of hot arrays are literals, because compilers for the CPU keep only such arrays fast; loads are in
// loops, as flash_forward_row says.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Q_UNIT = Q; // with VEC4 vec4<Q>, or vec2u for f16: what the bindings are arrays of
alias K_UNIT = K;
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const SIZE: u32 = 8; // invocations a workgroup
const ROWS: u32 = 4; // queries an invocation: 1, 2 or 4
const D_BLOCKS: u32 = 4; // blocks of 16 elements of q and k: 1, 2, 4, 8 or 16; 16 · D_BLOCKS ≥ D
const DV_BLOCKS: u32 = 4; // the same of v and gradient
const D_TAIL: bool = true; // false where D = 16 · D_BLOCKS: a loop over a row's vec4 then knows how many there are
const DV_TAIL: bool = true; // the same of Dv
const UNIT: u32 = select(1, 4, VEC4); // elements in one of the bindings'
const MASK: u32 = 1; // 0: none, 1: boolean, 2: f32 added, 3: f16 added
const SOFTCAP: bool = true; // these two may be true where there is none, at a cost
const ALIBI: bool = true;
const SKIP_ZEROS: bool = true; // for problems that exclude elements: bands are compared, and a weight of 0 skips its value, whatever lies there
const DROPOUT: bool = false;
const IN_LINES: bool = MASK == 0 && !SOFTCAP && !ALIBI && !DROPOUT; // nothing but scores and their band decides about weights: a line a row, no loop
const TILE_N: u32 = SIZE * ROWS; // queries a workgroup
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDED: f32 = -3e38; // a score from here down is excluded
const EXCLUDES: u32 = 0xff61b1e6; // its bits: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;

const_assert SIZE % 4 == 0;

const WIDTH: u32 = 4 * D_BLOCKS; // vec4 that a row of q or k takes up here, and one of v or gradient
const V_WIDTH: u32 = 4 * DV_BLOCKS;

alias Queries = array<vec4f, ROWS * WIDTH>; // [ROWS][WIDTH]
alias Gradients = array<vec4f, ROWS * V_WIDTH>; // [ROWS][V_WIDTH]
alias Key = array<vec4f, WIDTH>;
alias Value = array<vec4f, V_WIDTH>;

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

/// The vec-th four elements of a row that begins at `row`, in UNITs; past its end the last one again, which meets a 0 in what an invocation holds, or is
/// never stored.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_k(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])); }
fn load_v(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.dv); return vec4f(f32(v[e.x]), f32(v[e.y]), f32(v[e.z]), f32(v[e.w])); }
fn load_gradient(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.dv); return vec4f(f32(gradient[e.x]), f32(gradient[e.y]), f32(gradient[e.z]), f32(gradient[e.w])); }
fn store_dq(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.d) { dq[row + 4 * vec + c] = Q(value[c]); } } }

/// How many vec4 a row of q or k has.
fn d_vecs() -> u32 {
  return select(WIDTH, (params.d + 3) / 4, D_TAIL);
}

fn dv_vecs() -> u32 {
  return select(V_WIDTH, (params.dv + 3) / 4, DV_TAIL);
}

fn elements(vec: u32, size: u32) -> vec4u {
  return min(4 * vec + vec4u(0, 1, 2, 3), vec4u(size - 1));
}

/// Four elements of each of the four keys or values that a lane meets, in its order.
struct Four {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

fn meet(own: vec4f) -> Four {
  let b = quadSwapX(own);
  return Four(own, b, quadSwapY(own), quadSwapY(b));
}

fn add_dot(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

fn add_dots(sums: vec4f, held: vec4f, met: Four) -> vec4f {
  return vec4f(add_dot(sums.x, held, met.a), add_dot(sums.y, held, met.b), add_dot(sums.z, held, met.c), add_dot(sums.w, held, met.d));
}

/// Element by element, so that a compiler for the CPU keeps the sum in a register.
fn add_value(sum: f32, w: vec4f, a: f32, b: f32, c: f32, d: f32) -> f32 {
  return fma(w.w, d, fma(w.z, c, fma(w.y, b, fma(w.x, a, sum))));
}

fn add_values(sums: vec4f, w: vec4f, v: Four) -> vec4f {
  return vec4f(
    add_value(sums.x, w, v.a.x, v.b.x, v.c.x, v.d.x), add_value(sums.y, w, v.a.y, v.b.y, v.c.y, v.d.y),
    add_value(sums.z, w, v.a.z, v.b.z, v.c.z, v.d.z), add_value(sums.w, w, v.a.w, v.b.w, v.c.w, v.d.w));
}

/// Adds weight · value; a weight of 0 skips the value.
fn add_seen(sum: vec4f, weight: f32, value: vec4f) -> vec4f {
  return fma(vec4f(weight), select(value, vec4f(), weight == 0.0), sum);
}

/// Not 0 where one of four elements is infinite or no number.
fn wildness(value: vec4f) -> u32 {
  return u32(any((bitcast<vec4u>(value) & vec4u(0x7f800000)) == vec4u(0x7f800000)));
}

/// The bits of all four lanes, in each of them.
fn quad_or(bits: u32) -> u32 {
  let two = bits | quadSwapX(bits);
  return two | quadSwapY(two);
}

/// Four elements of a row that an invocation holds: 0 from the row's end on.
fn held(loaded: vec4f, vec: u32, size: u32) -> vec4f {
  return select(vec4f(), loaded, 4 * vec + vec4u(0, 1, 2, 3) < vec4u(size));
}

/// Four scores with the mask's elements.
fn masked(s: vec4f, index: vec4u) -> vec4f {
  let at = index / select(select(1u, 2u, MASK == 3), 4u, MASK == 1); // a word has 4 elements, 2 or 1
  let words = vec4u(mask[at.x], mask[at.y], mask[at.z], mask[at.w]);
  if (MASK == 1) {
    return select(s, vec4f(LOWEST), ((words >> (8 * (index % 4))) & vec4u(0xff)) == vec4u());
  }
  if (MASK == 2) {
    return select(s + bitcast<vec4f>(words), vec4f(LOWEST), (words >= vec4u(EXCLUDES)) & (words <= vec4u(MINUS_INFINITY)));
  }
  let bits = (words >> (16 * (index % 2))) & vec4u(0xffff);
  let bias = vec4f(unpack2x16float(bits.x).x, unpack2x16float(bits.y).x, unpack2x16float(bits.z).x, unpack2x16float(bits.w).x);
  return select(s + bias, vec4f(LOWEST), (bits >= vec4u(EXCLUDES_F16)) & (bits <= vec4u(MINUS_INFINITY_F16)));
}

/// cap · tanh(s / cap), and its derivative 1 − tanh².
struct Softcapped {
  s: vec4f,
  derivative: vec4f,
}

/// To a few units in the last place whatever the cap: see softcapped in flash_forward. With g = e / (1 + e), e = exp(−2x), tanh is 1 − 2g and its
/// derivative 4g · (1 − g), which keeps its digits where tanh is near 1.
fn softcapped(s: vec4f) -> Softcapped {
  let x = clamp(s / params.softcap, vec4f(-60.0), vec4f(60.0));
  let e = exp(-2.0 * abs(x));
  let g = e / (1.0 + e);
  let x2 = x * x;
  let is_near = abs(x) < vec4f(0.625);
  let t = select(sign(x) * (1.0 - 2.0 * g), x + x * x2 * (-0.33333281 + x2 * (0.13331442 + x2 * (-0.053739712 + x2 * (0.020639079 - 0.0057049785 * x2)))), is_near);
  return Softcapped(params.softcap * t, select(4.0 * g * (1.0 - g), 1.0 - t * t, is_near));
}

/// dA of query n for the four keys that a lane meets from first_m on, from q kᵀ and dO vᵀ; exactly 0 where it does not see them.
fn score_gradient(dots: vec4f, products: vec4f, place: Place, n: u32, first_m: u32, lane: u32, row: vec2f) -> vec4f {
  let position = i32(n) + place.offset;
  let m = vec4u(first_m) + (vec4u(lane) ^ vec4u(0, 1, 2, 3));
  let at = vec4i(m);
  let is_seen = vec4<bool>(n < params.n) & (m < vec4u(place.length)) &
    (at <= vec4i(position + params.right)) & (at >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  var derivative = vec4f(1.0); // of the softcap
  if (SOFTCAP) {
    let capped = softcapped(s);
    s = select(s, capped.s, params.softcap > 0.0);
    derivative = select(derivative, capped.derivative, params.softcap > 0.0);
  }
  if (ALIBI) {
    s -= place.slope * vec4f(abs(vec4i(position) - at));
  }
  if (MASK > 0) {
    let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
    s = masked(s, select(vec4u(params.mask_offset), mask_row + m * params.mask_m, is_seen)); // the first element where there may be none
  }
  var weights = select(exp(s - row.x), vec4f(), s <= vec4f(EXCLUDED));
  if (SKIP_ZEROS) {
    weights = select(vec4f(), weights, is_seen);
  }
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    let words = philox(vec4u(first_m / 4, n, place.head, 0));
    let paired = select(words, words.yxwz, (lane & 1) != 0);
    let met = select(paired, paired.zwxy, (lane & 2) != 0); // its x-th is words[lane ^ x]
    factors = select(vec4f(params.keep_factor), vec4f(), met < vec4u(params.drop_below));
  }
  let result = weights * (factors * products - row.y) * derivative;
  return select(result, vec4f(), vec4<bool>(SKIP_ZEROS) & (weights == vec4f()));
}

/// Adds one vec4's part of q kᵀ.
fn add_scores_vec(sums: ptr<function, array<vec4f, 4>>, queries: ptr<function, Queries>, own: ptr<function, Key>, vec: u32) {
  let met = meet((*own)[vec]);
  (*sums)[0] = add_dots((*sums)[0], (*queries)[vec], met);
  if (ROWS > 1) {
    (*sums)[1] = add_dots((*sums)[1], (*queries)[WIDTH + vec], met);
  }
  if (ROWS > 2) {
    (*sums)[2] = add_dots((*sums)[2], (*queries)[2 * WIDTH + vec], met);
    (*sums)[3] = add_dots((*sums)[3], (*queries)[3 * WIDTH + vec], met);
  }
}

fn add_scores_block(sums: ptr<function, array<vec4f, 4>>, queries: ptr<function, Queries>, own: ptr<function, Key>, block: u32) {
  add_scores_vec(sums, queries, own, 4 * block);
  add_scores_vec(sums, queries, own, 4 * block + 1);
  add_scores_vec(sums, queries, own, 4 * block + 2);
  add_scores_vec(sums, queries, own, 4 * block + 3);
}

fn add_scores_blocks(sums: ptr<function, array<vec4f, 4>>, queries: ptr<function, Queries>, own: ptr<function, Key>, first: u32) {
  add_scores_block(sums, queries, own, first);
  if (D_BLOCKS > 1) {
    add_scores_block(sums, queries, own, first + 1);
  }
  if (D_BLOCKS > 2) {
    add_scores_block(sums, queries, own, first + 2);
    add_scores_block(sums, queries, own, first + 3);
  }
}

fn add_scores(sums: ptr<function, array<vec4f, 4>>, queries: ptr<function, Queries>, own: ptr<function, Key>) {
  add_scores_blocks(sums, queries, own, 0);
  if (D_BLOCKS > 4) {
    add_scores_blocks(sums, queries, own, 4);
  }
  if (D_BLOCKS > 8) {
    add_scores_blocks(sums, queries, own, 8);
    add_scores_blocks(sums, queries, own, 12);
  }
}

/// The same of dO vᵀ.
fn add_products_vec(sums: ptr<function, array<vec4f, 4>>, gradients: ptr<function, Gradients>, own: ptr<function, Value>, vec: u32) {
  let met = meet((*own)[vec]);
  (*sums)[0] = add_dots((*sums)[0], (*gradients)[vec], met);
  if (ROWS > 1) {
    (*sums)[1] = add_dots((*sums)[1], (*gradients)[V_WIDTH + vec], met);
  }
  if (ROWS > 2) {
    (*sums)[2] = add_dots((*sums)[2], (*gradients)[2 * V_WIDTH + vec], met);
    (*sums)[3] = add_dots((*sums)[3], (*gradients)[3 * V_WIDTH + vec], met);
  }
}

fn add_products_block(sums: ptr<function, array<vec4f, 4>>, gradients: ptr<function, Gradients>, own: ptr<function, Value>, block: u32) {
  add_products_vec(sums, gradients, own, 4 * block);
  add_products_vec(sums, gradients, own, 4 * block + 1);
  add_products_vec(sums, gradients, own, 4 * block + 2);
  add_products_vec(sums, gradients, own, 4 * block + 3);
}

fn add_products_blocks(sums: ptr<function, array<vec4f, 4>>, gradients: ptr<function, Gradients>, own: ptr<function, Value>, first: u32) {
  add_products_block(sums, gradients, own, first);
  if (DV_BLOCKS > 1) {
    add_products_block(sums, gradients, own, first + 1);
  }
  if (DV_BLOCKS > 2) {
    add_products_block(sums, gradients, own, first + 2);
    add_products_block(sums, gradients, own, first + 3);
  }
}

fn add_products(sums: ptr<function, array<vec4f, 4>>, gradients: ptr<function, Gradients>, own: ptr<function, Value>) {
  add_products_blocks(sums, gradients, own, 0);
  if (DV_BLOCKS > 4) {
    add_products_blocks(sums, gradients, own, 4);
  }
  if (DV_BLOCKS > 8) {
    add_products_blocks(sums, gradients, own, 8);
    add_products_blocks(sums, gradients, own, 12);
  }
}

/// Adds dA · k to one vec4 of every row of dq.
fn add_keys_vec(sums: ptr<function, Queries>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Key>, vec: u32) {
  let met = meet((*own)[vec]);
  (*sums)[vec] = add_values((*sums)[vec], (*weights)[0], met);
  if (ROWS > 1) {
    (*sums)[WIDTH + vec] = add_values((*sums)[WIDTH + vec], (*weights)[1], met);
  }
  if (ROWS > 2) {
    (*sums)[2 * WIDTH + vec] = add_values((*sums)[2 * WIDTH + vec], (*weights)[2], met);
    (*sums)[3 * WIDTH + vec] = add_values((*sums)[3 * WIDTH + vec], (*weights)[3], met);
  }
}

fn add_keys_block(sums: ptr<function, Queries>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Key>, block: u32) {
  add_keys_vec(sums, weights, own, 4 * block);
  add_keys_vec(sums, weights, own, 4 * block + 1);
  add_keys_vec(sums, weights, own, 4 * block + 2);
  add_keys_vec(sums, weights, own, 4 * block + 3);
}

fn add_keys_blocks(sums: ptr<function, Queries>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Key>, first: u32) {
  add_keys_block(sums, weights, own, first);
  if (D_BLOCKS > 1) {
    add_keys_block(sums, weights, own, first + 1);
  }
  if (D_BLOCKS > 2) {
    add_keys_block(sums, weights, own, first + 2);
    add_keys_block(sums, weights, own, first + 3);
  }
}

fn add_keys(sums: ptr<function, Queries>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Key>) {
  add_keys_blocks(sums, weights, own, 0);
  if (D_BLOCKS > 4) {
    add_keys_blocks(sums, weights, own, 4);
  }
  if (D_BLOCKS > 8) {
    add_keys_blocks(sums, weights, own, 8);
    add_keys_blocks(sums, weights, own, 12);
  }
}

/// A query's products with four keys, one by one.
fn scores_of(query: u32, keys: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let own = held(load_q(query, i), i, params.d) * params.scale_before;
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_k(keys[x], i));
    }
  }
  return dots;
}

/// The same of its gradient and four values.
fn products_of(own_gradient: u32, values: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < dv_vecs(); i++) {
    let own = held(load_gradient(own_gradient, i), i, params.dv);
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_v(values[x], i));
    }
  }
  return dots;
}

/// A workgroup's place in a grid of params.grid_x × grid_y × grid_z. What is beyond params.grid_z has no work.
fn grid_place(workgroup: vec3u, counts: vec3u) -> vec3u {
  let index = workgroup.x + counts.x * (workgroup.y + counts.y * workgroup.z);
  let row = index / params.grid_x;
  return vec3u(index % params.grid_x, row % params.grid_y, row / params.grid_y);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_place(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
  let own_n = first_n + index * ROWS; // the first of this invocation's queries
  let lane = index % 4;
  let place = place_of(b, h);
  let key_head = h * params.key_heads / params.heads;
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;
  let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;

  // The keys that some query of the workgroup sees.
  let first_position = i32(first_n) + place.offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + place.offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(place.length))) / 4 * 4;
  let end = u32(clamp(last_position + params.right + 1, 0, i32(place.length)));

  var queries: Queries;
  var gradients: Gradients;
  var sums: Queries; // dq / scale
  var own_rows: array<vec2f, 4>; // lse and delta
  for (var r = 0u; r < ROWS; r++) {
    let n = min(own_n + r, params.n - 1); // the row of a query that does not exist is never stored
    own_rows[r] = bitcast<vec2f>(rows[place.head * params.n + n].xy);
    for (var i = 0u; i < d_vecs(); i++) {
      queries[r * WIDTH + i] = held(load_q((q_base + n * params.q_n) / UNIT, i), i, params.d) * params.scale_before;
    }
    for (var i = 0u; i < dv_vecs(); i++) {
      gradients[r * V_WIDTH + i] = held(load_gradient((gradient_base + n * params.gradient_n) / UNIT, i), i, params.dv);
    }
  }

  var is_tame = true; // no step so far had its keys taken for zeros
  for (var first_m = begin; first_m < end; first_m += 4) {
    let m = min(first_m + lane, place.length - 1); // a key that does not exist is not loaded: its place is taken by one that does, with weight 0
    let key_row = (k_base + m * params.k_m) / UNIT;
    var key: Key;
    var wild = 0u;
    for (var i = 0u; i < d_vecs(); i++) {
      let loaded = load_k(key_row, i);
      key[i] = loaded;
      if (SKIP_ZEROS) {
        wild = wild | wildness(loaded);
      }
    }
    let value_row = (v_base + m * params.v_m) / UNIT;
    var value: Value;
    for (var i = 0u; i < dv_vecs(); i++) {
      value[i] = load_v(value_row, i);
    }
    var s = array<vec4f, 4>(); // q·k: [ROWS] against the four keys
    var g = array<vec4f, 4>(); // gradient·v
    add_scores(&s, &queries, &key);
    add_products(&g, &gradients, &value);
    if (IN_LINES) {
      s[0] = score_gradient(s[0], g[0], place, own_n, first_m, lane, own_rows[0]);
      if (ROWS > 1) {
        s[1] = score_gradient(s[1], g[1], place, own_n + 1, first_m, lane, own_rows[1]);
      }
      if (ROWS > 2) {
        s[2] = score_gradient(s[2], g[2], place, own_n + 2, first_m, lane, own_rows[2]);
        s[3] = score_gradient(s[3], g[3], place, own_n + 3, first_m, lane, own_rows[3]);
      }
    } else {
      var seen = s;
      let products = g;
      for (var r = 0u; r < ROWS; r++) {
        seen[r] = score_gradient(seen[r], products[r], place, own_n + r, first_m, lane, own_rows[r]);
      }
      s = seen;
    }
    // Infinity times a weight of 0 is not 0: where a key is not finite, the step counts as zeros here, and is added at the end.
    // A loop without a turn costs a device on the CPU less than an if, whose body it runs masked.
    if (SKIP_ZEROS) {
      let is_finite = quad_or(wild) == 0;
      is_tame = is_tame & is_finite;
      for (var i = select(0, d_vecs(), is_finite); i < d_vecs(); i++) {
        key[i] = vec4f();
      }
      s[0] = select(vec4f(), s[0], is_finite); // an infinite one would make them NaN
      s[1] = select(vec4f(), s[1], is_finite);
      s[2] = select(vec4f(), s[2], is_finite);
      s[3] = select(vec4f(), s[3], is_finite);
    }
    add_keys(&sums, &s, &key);
  }

  var complete = sums; // a copy: an array that is indexed with a variable anywhere stays in memory everywhere
  if (SKIP_ZEROS) {
    for (var first_m = select(begin, end, is_tame); first_m < end; first_m += 4) {
      let m = min(vec4u(first_m) + (vec4u(lane) ^ vec4u(0, 1, 2, 3)), vec4u(place.length - 1));
      let key_rows = (k_base + m * params.k_m) / UNIT;
      let vecs = (params.d + 3) / 4; // no const: see flash_forward_row
      var wild = 0u;
      for (var i = 0u; i < 4 * vecs; i++) {
        wild = wild | wildness(load_k(key_rows[i % 4], i / 4));
      }
      if (wild != 0) {
        for (var r = 0u; r < ROWS; r++) {
          let n = min(own_n + r, params.n - 1);
          let dots = scores_of((q_base + n * params.q_n) / UNIT, key_rows);
          let products = products_of((gradient_base + n * params.gradient_n) / UNIT, (v_base + m * params.v_m) / UNIT);
          let weights = score_gradient(dots, products, place, own_n + r, first_m, lane, own_rows[r]);
          for (var i = 0u; i < 4 * vecs; i++) {
            let vec = r * WIDTH + i / 4;
            complete[vec] = add_seen(complete[vec], weights[i % 4], load_k(key_rows[i % 4], i / 4));
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS && own_n + r < params.n; r++) {
    let row = (params.dq_offset + b * params.dq_b + h * params.dq_h + (own_n + r) * params.dq_n) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      store_dq(row, i, complete[r * WIDTH + i] * params.scale_after * params.scale_before);
    }
  }
}
