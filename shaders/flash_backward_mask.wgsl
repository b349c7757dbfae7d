// enable
// flash_backward_mask: dmask = dS, the gradient of an additive mask, summed over the axes that the mask repeats.
// With P the weights, made again from the scores and lse, R what dropout multiplies them by, dO the gradient of out:
//
//     P = exp(s − lse)      dS = P ∘ (R ∘ (dO vᵀ) − delta)
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dmask of the mask's own shape: each axis as long as the problem's, or 1
//
// A workgroup computes the elements of dmask that TILE_N queries × TILE_M keys of the mask are made of, or of one query, or of one key, where the
// mask repeats those. It walks over everything that reads them, batch elements, heads, queries and keys in tiles, and adds up dS; an invocation
// holds a block of 4 queries × 4 keys. At the end the blocks' sums are added up along a repeated axis.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/backward-options.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k and v
const TILE_N: u32 = 32; // queries a tile
const TILE_M: u32 = 32; // keys a tile
const STEP: u32 = 16; // elements of a head that are in workgroup memory at a time
const DROPOUT: bool = false;
const ROWS_N: u32 = TILE_N / 4; // blocks of 4 queries
const ROWS_M: u32 = TILE_M / 4; // blocks of 4 keys
const SIZE: u32 = ROWS_N * ROWS_M;
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDES: u32 = 0xff61b1e6; // bits of −3e38: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0;

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
  mask_kind: u32, // 2: f32 added, 3: f16 added
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
  batch: u32, // B
  repeats_b: u32, // 1 where the mask has one element along an axis: it counts for all
  repeats_h: u32,
  repeats_n: u32,
  repeats_m: u32,
  dmask_offset: u32,
  dmask_b: u32,
  dmask_h: u32,
  dmask_n: u32,
  dmask_m: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> v: array<K>;
@group(0) @binding(3) var<storage, read> gradient: array<Q>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dmask: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, STEP * (ROWS_N + ROWS_M)>; // q or gradient: [STEP][ROWS_N], k or v: [STEP][ROWS_M]
var<workgroup> totals: array<f32, TILE_N * TILE_M>; // [TILE_N][TILE_M]

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

fn load_q(base: u32, n: u32, d: u32) -> f32 {
  let element = q[base + min(n, params.n - 1) * params.q_n + min(d, params.d - 1)];
  return select(0.0, f32(element) * params.scale_before, (n < params.n) & (d < params.d));
}

fn load_gradient(base: u32, n: u32, e: u32) -> f32 {
  let element = gradient[base + min(n, params.n - 1) * params.gradient_n + min(e, params.dv - 1)];
  return select(0.0, f32(element), (n < params.n) & (e < params.dv));
}

fn load_k(base: u32, m: u32, d: u32, length: u32) -> f32 {
  let element = k[base + min(m, length - 1) * params.k_m + min(d, params.d - 1)];
  return select(0.0, f32(element), (m < length) & (d < params.d));
}

fn load_v(base: u32, m: u32, e: u32, length: u32) -> f32 {
  let element = v[base + min(m, length - 1) * params.v_m + min(e, params.dv - 1)];
  return select(0.0, f32(element), (m < length) & (e < params.dv));
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

/// A block of 4 × 4 sums: one column vector a row of the result. A named block and no array, so that every compiler keeps it in registers.
fn add_products(sums: mat4x4f, rows_part: vec4f, cols: vec4f) -> mat4x4f {
  return mat4x4f(
    fma(vec4f(rows_part.x), cols, sums[0]), fma(vec4f(rows_part.y), cols, sums[1]),
    fma(vec4f(rows_part.z), cols, sums[2]), fma(vec4f(rows_part.w), cols, sums[3]));
}

/// A score with the mask's element, which is not loaded where the key is not seen.
fn masked(s: f32, is_seen: bool, index: u32) -> f32 {
  if (!is_seen) {
    return LOWEST;
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

/// cap · tanh(s / cap), to a few units in the last place whatever the cap. WGSL allows its own tanh an absolute error of 1e-5.
/// Near 0 tanh(x) is x + x³ · P(x²) with a polynomial that was fitted for |x| < 0.625, where its error is below 2^-27. Beyond it tanh is 1 − 2e / (1 + e), e = exp(−2x).
fn softcapped(s: vec4f) -> vec4f {
  let x = clamp(s / params.softcap, vec4f(-60.0), vec4f(60.0));
  let x2 = x * x;
  let near = s + s * x2 * (-0.33333281 + x2 * (0.13331442 + x2 * (-0.053739712 + x2 * (0.020639079 - 0.0057049785 * x2))));
  let e = exp(-2.0 * abs(x));
  let far = sign(x) * params.softcap * (1.0 - 2.0 * e / (1.0 + e));
  return select(far, near, abs(x) < vec4f(0.625));
}

/// dS of query n for 4 keys from first_m on, from its parts of q kᵀ and of dO vᵀ; exactly 0 where it sees none.
fn score_gradient(dots: vec4f, products: vec4f, place: Place, n: u32, first_m: u32, row: vec2f) -> vec4f {
  let position = i32(n) + place.offset;
  let m = vec4u(first_m) + vec4u(0, 1, 2, 3);
  let at = vec4i(m);
  let is_seen = vec4<bool>(n < params.n) & (m < vec4u(place.length)) &
    (at <= vec4i(position + params.right)) & (at >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  if (params.softcap > 0.0) {
    s = softcapped(s);
  }
  s -= place.slope * vec4f(abs(vec4i(position) - at));
  let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
  var visible = is_seen;
  for (var j = 0u; j < 4; j++) { // each score in turn is the first
    s = vec4f(s.yzw, masked(s.x, visible.x, mask_row + (first_m + j) * params.mask_m));
    visible = visible.yzwx;
  }
  let bits = bitcast<vec4u>(s);
  let is_excluded = (bits >= vec4u(EXCLUDES)) & (bits <= vec4u(MINUS_INFINITY));
  let weights = select(vec4f(), exp(s - row.x), is_seen & !is_excluded);
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    factors = select(vec4f(params.keep_factor), vec4f(), philox(vec4u(first_m / 4, n, place.head, 0)) < vec4u(params.drop_below));
  }
  return select(vec4f(), weights * (factors * products - row.y), weights != vec4f());
}

/// lse and delta of query n; the row of a query that does not exist is never used.
fn row_of(head: u32, n: u32) -> vec2f {
  return bitcast<vec2f>(rows[head * params.n + min(n, params.n - 1)].xy);
}

/// A workgroup's place in a grid of params.grid_x × grid_y × grid_z. What is beyond params.grid_z has no work.
fn grid_place(workgroup: vec3u, counts: vec3u) -> vec3u {
  let index = workgroup.x + counts.x * (workgroup.y + counts.y * workgroup.z);
  let row = index / params.grid_x;
  return vec3u(index % params.grid_x, row % params.grid_y, row / params.grid_y);
}

@compute @workgroup_size(ROWS_M, ROWS_N)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = grid_place(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  // What the mask does not repeat is this workgroup's own; what it repeats is walked over.
  let mask_heads = select(params.heads, 1, params.repeats_h != 0);
  let mask_b = group.z / mask_heads;
  let mask_h = group.z % mask_heads;
  let own_b = vec2u(select(mask_b, 0, params.repeats_b != 0), select(mask_b + 1, params.batch, params.repeats_b != 0)); // from, to
  let own_h = vec2u(select(mask_h, 0, params.repeats_h != 0), select(mask_h + 1, params.heads, params.repeats_h != 0));
  let tile_n = group.y * TILE_N;
  let tile_m = group.x * TILE_M;
  let end_n = select(tile_n + 1, params.n, params.repeats_n != 0);
  let end_m = select(tile_m + 1, params.m, params.repeats_m != 0);

  var sums = mat4x4f(); // [4 queries][4 keys]
  for (var b = own_b.x; b < own_b.y; b++) {
    for (var h = own_h.x; h < own_h.y; h++) {
      let place = place_of(b, h);
      let key_head = h * params.key_heads / params.heads;
      let q_base = params.q_offset + b * params.q_b + h * params.q_h;
      let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
      let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;
      let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;
      for (var first_n = tile_n; first_n < end_n; first_n += TILE_N) {
        // The keys that some query of the tile sees.
        let first_position = i32(first_n) + place.offset;
        let last_position = i32(min(first_n + TILE_N, params.n) - 1) + place.offset;
        let begin = u32(clamp(first_position - params.left, 0, i32(place.length))) / TILE_M * TILE_M;
        let end = u32(clamp(last_position + params.right + 1, 0, i32(place.length)));
        for (var first_m = max(begin, tile_m); first_m < min(end, end_m); first_m += TILE_M) {
          var s = mat4x4f(); // q·k: [4 queries][4 keys]
          for (var first_d = 0u; first_d < params.d; first_d += STEP) {
            for (var i = lane; i < STEP * ROWS_N; i += SIZE) {
              let d = first_d + i % STEP;
              let n = first_n + 4 * (i / STEP);
              tile[(i % STEP) * ROWS_N + i / STEP] =
                vec4f(load_q(q_base, n, d), load_q(q_base, n + 1, d), load_q(q_base, n + 2, d), load_q(q_base, n + 3, d));
            }
            for (var i = lane; i < STEP * ROWS_M; i += SIZE) {
              let d = first_d + i % STEP;
              let m = first_m + 4 * (i / STEP);
              tile[STEP * ROWS_N + (i % STEP) * ROWS_M + i / STEP] = vec4f(
                load_k(k_base, m, d, place.length), load_k(k_base, m + 1, d, place.length),
                load_k(k_base, m + 2, d, place.length), load_k(k_base, m + 3, d, place.length));
            }
            workgroupBarrier();
            for (var d = 0u; d < STEP; d++) {
              s = add_products(s, tile[d * ROWS_N + local.y], tile[STEP * ROWS_N + d * ROWS_M + local.x]);
            }
            workgroupBarrier();
          }
          var g = mat4x4f(); // gradient·v: [4 queries][4 keys]
          for (var first_e = 0u; first_e < params.dv; first_e += STEP) {
            for (var i = lane; i < STEP * ROWS_N; i += SIZE) {
              let e = first_e + i % STEP;
              let n = first_n + 4 * (i / STEP);
              tile[(i % STEP) * ROWS_N + i / STEP] = vec4f(
                load_gradient(gradient_base, n, e), load_gradient(gradient_base, n + 1, e),
                load_gradient(gradient_base, n + 2, e), load_gradient(gradient_base, n + 3, e));
            }
            for (var i = lane; i < STEP * ROWS_M; i += SIZE) {
              let e = first_e + i % STEP;
              let m = first_m + 4 * (i / STEP);
              tile[STEP * ROWS_N + (i % STEP) * ROWS_M + i / STEP] = vec4f(
                load_v(v_base, m, e, place.length), load_v(v_base, m + 1, e, place.length),
                load_v(v_base, m + 2, e, place.length), load_v(v_base, m + 3, e, place.length));
            }
            workgroupBarrier();
            for (var e = 0u; e < STEP; e++) {
              g = add_products(g, tile[e * ROWS_N + local.y], tile[STEP * ROWS_N + e * ROWS_M + local.x]);
            }
            workgroupBarrier();
          }

          let own_n = first_n + 4 * local.y;
          let own_m = first_m + 4 * local.x;
          for (var i = 0u; i < 4; i++) { // each query in turn is the first; its dS takes g's place
            let gradients = score_gradient(s[0], g[0], place, own_n + i, own_m, row_of(place.head, own_n + i));
            s = mat4x4f(s[1], s[2], s[3], s[0]);
            g = mat4x4f(g[1], g[2], g[3], gradients);
          }
          sums += g;
        }
      }
    }
  }

  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      totals[(4 * local.y + i) * TILE_M + 4 * local.x + j] = sums[i][j];
    }
  }
  workgroupBarrier();
  // An invocation adds up what one element is made of: itself, its column, its row, or everything.
  let rows_n = select(1u, TILE_N, params.repeats_n != 0);
  let cols_m = select(1u, TILE_M, params.repeats_m != 0);
  for (var i = lane; i < TILE_N * TILE_M; i += SIZE) {
    let row = i / TILE_M;
    let col = i % TILE_M;
    let n = tile_n + row;
    let m = tile_m + col;
    let is_own = (row == 0 || params.repeats_n == 0) && (col == 0 || params.repeats_m == 0);
    if (is_own && (n < params.n || params.repeats_n != 0) && (m < params.m || params.repeats_m != 0)) { // a row that is repeated is there without queries too
      var total = 0.0;
      for (var y = row; y < row + rows_n; y++) {
        for (var x = col; x < col + cols_m; x++) {
          total += totals[y * TILE_M + x];
        }
      }
      dmask[params.dmask_offset + mask_b * params.dmask_b + mask_h * params.dmask_h + n * params.dmask_n + m * params.dmask_m] = total;
    }
  }
}
