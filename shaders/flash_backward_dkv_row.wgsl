enable subgroups;
// flash_backward_dkv_row: what flash_backward_dkv computes, for devices that run on the CPU: whole rows in one invocation, as in flash_forward_row.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dk  [B,Hk,M,D]    dv [B,Hk,M,Dv]
//
// An invocation holds ROWS keys of one key head, their values, and their rows of dk and dv. It walks over the query heads that read the key head.
// Four neighbours, a quad, take four queries a step: each loads one with its row of gradient, and gets the other three by quad swaps; the x-th
// query that a lane meets is first_n + (lane ^ x). For each step: q kᵀ and dO vᵀ, from them P ∘ R and dA, and their products with dO and q. Indices
// of hot arrays are literals, because compilers for the CPU keep only such arrays fast; loads are in loops, as flash_forward_row says.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k, v, dk and dv
alias Q_UNIT = Q; // with VEC4 vec4<Q>, or vec2u for f16: what the bindings are arrays of
alias K_UNIT = K;
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const SIZE: u32 = 8; // invocations a workgroup
const ROWS: u32 = 4; // keys an invocation: 1, 2 or 4
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
const TILE_M: u32 = SIZE * ROWS; // keys a workgroup
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDED: f32 = -3e38; // a score from here down is excluded
const EXCLUDES: u32 = 0xff61b1e6; // its bits: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;

const_assert SIZE % 4 == 0;

const WIDTH: u32 = 4 * D_BLOCKS; // vec4 that a row of q or k takes up here, and one of v or gradient
const V_WIDTH: u32 = 4 * DV_BLOCKS;

alias Keys = array<vec4f, ROWS * WIDTH>; // [ROWS][WIDTH]
alias Values = array<vec4f, ROWS * V_WIDTH>; // [ROWS][V_WIDTH]
alias Query = array<vec4f, WIDTH>;
alias Gradient = array<vec4f, V_WIDTH>;

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
  scale_before: f32, // a power of 2 up to 1 that multiplies k before the products, so that they overflow only where the scores do
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
  dk_offset: u32,
  dk_b: u32,
  dk_h: u32,
  dk_m: u32,
  dv_offset: u32,
  dv_b: u32,
  dv_h: u32,
  dv_m: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> gradient: array<Q_UNIT>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dk: array<K_UNIT>;
@group(0) @binding(7) var<storage, read_write> dv: array<K_UNIT>;
@group(0) @binding(8) var<uniform> params: Params;

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
fn store_dk(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.d) { dk[row + 4 * vec + c] = K(value[c]); } } }
fn store_dv(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.dv) { dv[row + 4 * vec + c] = K(value[c]); } } }

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

/// Four elements of each of the four queries or gradients that a lane meets, in its order.
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

/// What dv and dk are made of, for one key and four queries.
struct Weights {
  kept: vec4f, // P ∘ R
  gradient: vec4f, // dA
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

/// P ∘ R and dA of key m for the four queries that a lane meets from first_n on, from q kᵀ and dO vᵀ; exactly 0 where it exists and they do not see it.
fn weights_of(dots: vec4f, products: vec4f, place: Place, first_n: u32, lane: u32, m: u32, lse: vec4f, delta: vec4f) -> Weights {
  let n = vec4u(first_n) + (vec4u(lane) ^ vec4u(0, 1, 2, 3));
  let position = vec4i(n) + place.offset;
  let is_seen = (n < vec4u(params.n)) & vec4<bool>(m < place.length) &
    (vec4i(i32(m)) <= position + params.right) & (vec4i(i32(m)) >= position - params.left);
  var s = dots * params.scale_after;
  var derivative = vec4f(1.0); // of the softcap
  if (SOFTCAP) {
    let capped = softcapped(s);
    s = select(s, capped.s, params.softcap > 0.0);
    derivative = select(derivative, capped.derivative, params.softcap > 0.0);
  }
  if (ALIBI) {
    s -= place.slope * vec4f(abs(position - vec4i(i32(m))));
  }
  if (MASK > 0) {
    let mask_column = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + m * params.mask_m;
    s = masked(s, select(vec4u(params.mask_offset), mask_column + n * params.mask_n, is_seen)); // the first element where there may be none
  }
  var weights = select(exp(s - lse), vec4f(), s <= vec4f(EXCLUDED));
  if (SKIP_ZEROS) {
    weights = select(vec4f(), weights, is_seen);
  }
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    for (var x = 0u; x < 4; x++) {
      let word = philox(vec4u(m / 4, n[x], place.head, 0))[m % 4];
      factors[x] = select(params.keep_factor, 0.0, word < params.drop_below);
    }
  }
  let result = weights * (factors * products - delta) * derivative;
  return Weights(weights * factors, select(result, vec4f(), vec4<bool>(SKIP_ZEROS) & (weights == vec4f())));
}

/// The four numbers that a lane meets, in its order.
fn meet_numbers(own: f32) -> vec4f {
  let b = quadSwapX(own);
  return vec4f(own, b, quadSwapY(own), quadSwapY(b));
}

/// Adds one vec4's part of q kᵀ.
fn add_scores_vec(sums: ptr<function, array<vec4f, 4>>, keys: ptr<function, Keys>, own: ptr<function, Query>, vec: u32) {
  let met = meet((*own)[vec]);
  (*sums)[0] = add_dots((*sums)[0], (*keys)[vec], met);
  if (ROWS > 1) {
    (*sums)[1] = add_dots((*sums)[1], (*keys)[WIDTH + vec], met);
  }
  if (ROWS > 2) {
    (*sums)[2] = add_dots((*sums)[2], (*keys)[2 * WIDTH + vec], met);
    (*sums)[3] = add_dots((*sums)[3], (*keys)[3 * WIDTH + vec], met);
  }
}

fn add_scores_block(sums: ptr<function, array<vec4f, 4>>, keys: ptr<function, Keys>, own: ptr<function, Query>, block: u32) {
  add_scores_vec(sums, keys, own, 4 * block);
  add_scores_vec(sums, keys, own, 4 * block + 1);
  add_scores_vec(sums, keys, own, 4 * block + 2);
  add_scores_vec(sums, keys, own, 4 * block + 3);
}

fn add_scores_blocks(sums: ptr<function, array<vec4f, 4>>, keys: ptr<function, Keys>, own: ptr<function, Query>, first: u32) {
  add_scores_block(sums, keys, own, first);
  if (D_BLOCKS > 1) {
    add_scores_block(sums, keys, own, first + 1);
  }
  if (D_BLOCKS > 2) {
    add_scores_block(sums, keys, own, first + 2);
    add_scores_block(sums, keys, own, first + 3);
  }
}

fn add_scores(sums: ptr<function, array<vec4f, 4>>, keys: ptr<function, Keys>, own: ptr<function, Query>) {
  add_scores_blocks(sums, keys, own, 0);
  if (D_BLOCKS > 4) {
    add_scores_blocks(sums, keys, own, 4);
  }
  if (D_BLOCKS > 8) {
    add_scores_blocks(sums, keys, own, 8);
    add_scores_blocks(sums, keys, own, 12);
  }
}

/// The same of dO vᵀ.
fn add_products_vec(sums: ptr<function, array<vec4f, 4>>, values: ptr<function, Values>, own: ptr<function, Gradient>, vec: u32) {
  let met = meet((*own)[vec]);
  (*sums)[0] = add_dots((*sums)[0], (*values)[vec], met);
  if (ROWS > 1) {
    (*sums)[1] = add_dots((*sums)[1], (*values)[V_WIDTH + vec], met);
  }
  if (ROWS > 2) {
    (*sums)[2] = add_dots((*sums)[2], (*values)[2 * V_WIDTH + vec], met);
    (*sums)[3] = add_dots((*sums)[3], (*values)[3 * V_WIDTH + vec], met);
  }
}

fn add_products_block(sums: ptr<function, array<vec4f, 4>>, values: ptr<function, Values>, own: ptr<function, Gradient>, block: u32) {
  add_products_vec(sums, values, own, 4 * block);
  add_products_vec(sums, values, own, 4 * block + 1);
  add_products_vec(sums, values, own, 4 * block + 2);
  add_products_vec(sums, values, own, 4 * block + 3);
}

fn add_products_blocks(sums: ptr<function, array<vec4f, 4>>, values: ptr<function, Values>, own: ptr<function, Gradient>, first: u32) {
  add_products_block(sums, values, own, first);
  if (DV_BLOCKS > 1) {
    add_products_block(sums, values, own, first + 1);
  }
  if (DV_BLOCKS > 2) {
    add_products_block(sums, values, own, first + 2);
    add_products_block(sums, values, own, first + 3);
  }
}

fn add_products(sums: ptr<function, array<vec4f, 4>>, values: ptr<function, Values>, own: ptr<function, Gradient>) {
  add_products_blocks(sums, values, own, 0);
  if (DV_BLOCKS > 4) {
    add_products_blocks(sums, values, own, 4);
  }
  if (DV_BLOCKS > 8) {
    add_products_blocks(sums, values, own, 8);
    add_products_blocks(sums, values, own, 12);
  }
}

/// Adds dA · q to one vec4 of every row of dk.
fn add_queries_vec(sums: ptr<function, Keys>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Query>, vec: u32) {
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

fn add_queries_block(sums: ptr<function, Keys>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Query>, block: u32) {
  add_queries_vec(sums, weights, own, 4 * block);
  add_queries_vec(sums, weights, own, 4 * block + 1);
  add_queries_vec(sums, weights, own, 4 * block + 2);
  add_queries_vec(sums, weights, own, 4 * block + 3);
}

fn add_queries_blocks(sums: ptr<function, Keys>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Query>, first: u32) {
  add_queries_block(sums, weights, own, first);
  if (D_BLOCKS > 1) {
    add_queries_block(sums, weights, own, first + 1);
  }
  if (D_BLOCKS > 2) {
    add_queries_block(sums, weights, own, first + 2);
    add_queries_block(sums, weights, own, first + 3);
  }
}

fn add_queries(sums: ptr<function, Keys>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Query>) {
  add_queries_blocks(sums, weights, own, 0);
  if (D_BLOCKS > 4) {
    add_queries_blocks(sums, weights, own, 4);
  }
  if (D_BLOCKS > 8) {
    add_queries_blocks(sums, weights, own, 8);
    add_queries_blocks(sums, weights, own, 12);
  }
}

/// Adds P ∘ R · dO to one vec4 of every row of dv.
fn add_gradients_vec(sums: ptr<function, Values>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Gradient>, vec: u32) {
  let met = meet((*own)[vec]);
  (*sums)[vec] = add_values((*sums)[vec], (*weights)[0], met);
  if (ROWS > 1) {
    (*sums)[V_WIDTH + vec] = add_values((*sums)[V_WIDTH + vec], (*weights)[1], met);
  }
  if (ROWS > 2) {
    (*sums)[2 * V_WIDTH + vec] = add_values((*sums)[2 * V_WIDTH + vec], (*weights)[2], met);
    (*sums)[3 * V_WIDTH + vec] = add_values((*sums)[3 * V_WIDTH + vec], (*weights)[3], met);
  }
}

fn add_gradients_block(sums: ptr<function, Values>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Gradient>, block: u32) {
  add_gradients_vec(sums, weights, own, 4 * block);
  add_gradients_vec(sums, weights, own, 4 * block + 1);
  add_gradients_vec(sums, weights, own, 4 * block + 2);
  add_gradients_vec(sums, weights, own, 4 * block + 3);
}

fn add_gradients_blocks(sums: ptr<function, Values>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Gradient>, first: u32) {
  add_gradients_block(sums, weights, own, first);
  if (DV_BLOCKS > 1) {
    add_gradients_block(sums, weights, own, first + 1);
  }
  if (DV_BLOCKS > 2) {
    add_gradients_block(sums, weights, own, first + 2);
    add_gradients_block(sums, weights, own, first + 3);
  }
}

fn add_gradients(sums: ptr<function, Values>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Gradient>) {
  add_gradients_blocks(sums, weights, own, 0);
  if (DV_BLOCKS > 4) {
    add_gradients_blocks(sums, weights, own, 4);
  }
  if (DV_BLOCKS > 8) {
    add_gradients_blocks(sums, weights, own, 8);
    add_gradients_blocks(sums, weights, own, 12);
  }
}

/// A key's products with four queries, one by one.
fn scores_of(key: u32, queries: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let own = held(load_k(key, i), i, params.d) * params.scale_before;
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_q(queries[x], i));
    }
  }
  return dots;
}

/// The same of its value and four gradients.
fn products_of(value: u32, gradients: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < dv_vecs(); i++) {
    let own = held(load_v(value, i), i, params.dv);
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_gradient(gradients[x], i));
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
  let b = group.y / params.key_heads;
  let key_head = group.y % params.key_heads;
  let first_m = group.x * TILE_M;
  let own_m = first_m + index * ROWS; // the first of this invocation's keys
  let lane = index % 4;
  let sharing = params.heads / params.key_heads; // query heads that read this key head
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The queries that see some key of the workgroup. They are the same in every head.
  let first_place = place_of(b, key_head * sharing);
  let length = first_place.length;
  let last_m = min(first_m + TILE_M, length) - 1; // not used where no key exists
  let begin = u32(clamp(i32(first_m) - first_place.offset - params.right, 0, i32(params.n))) / 4 * 4;
  let seen_end = u32(clamp(i32(last_m) - first_place.offset + params.left + 1, 0, i32(params.n)));
  let end = select(0, seen_end, first_m < length);

  var keys: Keys;
  var values: Values;
  var dk_sums: Keys; // dk / scale
  var dv_sums: Values;
  for (var r = 0u; r < ROWS && own_m + r < length; r++) { // a key that does not exist is not loaded
    for (var i = 0u; i < d_vecs(); i++) {
      keys[r * WIDTH + i] = held(load_k((k_base + (own_m + r) * params.k_m) / UNIT, i), i, params.d) * params.scale_before;
    }
    for (var i = 0u; i < dv_vecs(); i++) {
      values[r * V_WIDTH + i] = held(load_v((v_base + (own_m + r) * params.v_m) / UNIT, i), i, params.dv);
    }
  }

  var is_tame = true; // no step so far had its queries and gradients taken for zeros
  for (var h = key_head * sharing; h < (key_head + 1) * sharing; h++) {
    let place = place_of(b, h);
    let q_base = params.q_offset + b * params.q_b + h * params.q_h;
    let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;
    for (var first_n = begin; first_n < end; first_n += 4) {
      let n = min(first_n + lane, params.n - 1); // a query that does not exist has its place taken by one that does, with weight 0
      let row = bitcast<vec2f>(rows[place.head * params.n + n].xy);
      let lse = meet_numbers(row.x);
      let delta = meet_numbers(row.y);
      let query_row = (q_base + n * params.q_n) / UNIT;
      var query: Query;
      var wild = 0u;
      for (var i = 0u; i < d_vecs(); i++) {
        let loaded = load_q(query_row, i);
        query[i] = loaded;
        if (SKIP_ZEROS) {
          wild = wild | wildness(loaded);
        }
      }
      let gradient_row = (gradient_base + n * params.gradient_n) / UNIT;
      var own_gradient: Gradient;
      for (var i = 0u; i < dv_vecs(); i++) {
        let loaded = load_gradient(gradient_row, i);
        own_gradient[i] = loaded;
        if (SKIP_ZEROS) {
          wild = wild | wildness(loaded);
        }
      }
      var s = array<vec4f, 4>(); // q·k: [ROWS] against the four queries; then dA
      var g = array<vec4f, 4>(); // gradient·v; then P ∘ R
      add_scores(&s, &keys, &query);
      add_products(&g, &values, &own_gradient);
      if (IN_LINES) {
        var w = weights_of(s[0], g[0], place, first_n, lane, own_m, lse, delta);
        s[0] = w.gradient;
        g[0] = w.kept;
        if (ROWS > 1) {
          w = weights_of(s[1], g[1], place, first_n, lane, own_m + 1, lse, delta);
          s[1] = w.gradient;
          g[1] = w.kept;
        }
        if (ROWS > 2) {
          w = weights_of(s[2], g[2], place, first_n, lane, own_m + 2, lse, delta);
          s[2] = w.gradient;
          g[2] = w.kept;
          w = weights_of(s[3], g[3], place, first_n, lane, own_m + 3, lse, delta);
          s[3] = w.gradient;
          g[3] = w.kept;
        }
      } else {
        var seen = s;
        var kept = g;
        for (var r = 0u; r < ROWS; r++) {
          let w = weights_of(seen[r], kept[r], place, first_n, lane, own_m + r, lse, delta);
          seen[r] = w.gradient;
          kept[r] = w.kept;
        }
        s = seen;
        g = kept;
      }
      // Infinity times a weight of 0 is not 0: where an element is not finite, the step counts as zeros here, and is added at the end.
      // A loop without a turn costs a device on the CPU less than an if, whose body it runs masked.
      if (SKIP_ZEROS) {
        let is_finite = quad_or(wild) == 0;
        is_tame = is_tame & is_finite;
        for (var i = select(0, d_vecs(), is_finite); i < d_vecs(); i++) {
          query[i] = vec4f();
        }
        for (var i = select(0, dv_vecs(), is_finite); i < dv_vecs(); i++) {
          own_gradient[i] = vec4f();
        }
        s[0] = select(vec4f(), s[0], is_finite); // an infinite one would make them NaN
        s[1] = select(vec4f(), s[1], is_finite);
        s[2] = select(vec4f(), s[2], is_finite);
        s[3] = select(vec4f(), s[3], is_finite);
        g[0] = select(vec4f(), g[0], is_finite);
        g[1] = select(vec4f(), g[1], is_finite);
        g[2] = select(vec4f(), g[2], is_finite);
        g[3] = select(vec4f(), g[3], is_finite);
      }
      add_queries(&dk_sums, &s, &query);
      add_gradients(&dv_sums, &g, &own_gradient);
    }
  }

  var all_dk = dk_sums; // copies: an array that is indexed with a variable anywhere stays in memory everywhere
  var all_dv = dv_sums;
  if (SKIP_ZEROS) {
    let vecs = (params.d + 3) / 4; // no const: see flash_forward_row
    let v_vecs = (params.dv + 3) / 4;
    for (var h = select(0, sharing, is_tame); h < sharing; h++) {
      let place = place_of(b, key_head * sharing + h);
      let q_base = params.q_offset + b * params.q_b + place.h * params.q_h;
      let gradient_base = params.gradient_offset + b * params.gradient_b + place.h * params.gradient_h;
      for (var first_n = begin; first_n < end; first_n += 4) {
        let n = min(vec4u(first_n) + (vec4u(lane) ^ vec4u(0, 1, 2, 3)), vec4u(params.n - 1));
        let query_rows = (q_base + n * params.q_n) / UNIT;
        let gradient_rows = (gradient_base + n * params.gradient_n) / UNIT;
        var wild = 0u;
        for (var i = 0u; i < 4 * vecs; i++) {
          wild = wild | wildness(load_q(query_rows[i % 4], i / 4));
        }
        for (var i = 0u; i < 4 * v_vecs; i++) {
          wild = wild | wildness(load_gradient(gradient_rows[i % 4], i / 4));
        }
        if (wild != 0) {
          var lse = vec4f();
          var delta = vec4f();
          for (var x = 0u; x < 4; x++) {
            let row = bitcast<vec2f>(rows[place.head * params.n + n[x]].xy);
            lse[x] = row.x;
            delta[x] = row.y;
          }
          for (var r = 0u; r < ROWS; r++) {
            let m = min(own_m + r, length - 1);
            let dots = scores_of((k_base + m * params.k_m) / UNIT, query_rows);
            let products = products_of((v_base + m * params.v_m) / UNIT, gradient_rows);
            let w = weights_of(dots, products, place, first_n, lane, own_m + r, lse, delta);
            for (var i = 0u; i < 4 * vecs; i++) {
              let vec = r * WIDTH + i / 4;
              all_dk[vec] = add_seen(all_dk[vec], w.gradient[i % 4], load_q(query_rows[i % 4], i / 4));
            }
            for (var i = 0u; i < 4 * v_vecs; i++) {
              let vec = r * V_WIDTH + i / 4;
              all_dv[vec] = add_seen(all_dv[vec], w.kept[i % 4], load_gradient(gradient_rows[i % 4], i / 4));
            }
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS && own_m + r < params.m; r++) {
    let m = own_m + r;
    let exists = m < length; // 0 where the key does not exist, whatever the queries hold, and whatever its weights were
    let dk_row = (params.dk_offset + b * params.dk_b + key_head * params.dk_h + m * params.dk_m) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      store_dk(dk_row, i, select(vec4f(), all_dk[r * WIDTH + i] * params.scale_after * params.scale_before, exists));
    }
    let dv_row = (params.dv_offset + b * params.dv_b + key_head * params.dv_h + m * params.dv_m) / UNIT;
    for (var i = 0u; i < dv_vecs(); i++) {
      store_dv(dv_row, i, select(vec4f(), all_dv[r * V_WIDTH + i], exists));
    }
  }
}
