// enable
// flash_forward: out = dropout(softmax(scale · q kᵀ → softcap → + ALiBi → mask)) · v in one pass over the keys: no N×M in memory.
// The baseline tier: workgroup memory and barriers, no optional feature.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N]
//
// A workgroup computes TILE_N queries of one head. It walks over the keys in tiles of TILE_M. An invocation holds a block of 4 queries × 4 keys
// of the scores, and BLOCKS blocks of 4 queries × 4 elements of out, which stay unnormalised until the end. For each tile: the scores, the rows'
// new maximum (out and the sums so far are scaled by how much it rose), exp of what is left as weights in workgroup memory, weights · v.
// In the loop over the keys blocks are named, no arrays, and only literals index them, so that every compiler keeps them in registers: a loop over a
// block's rows turns the block.
// Its twin on the CPU is src/reference/attention.ts, its test test/attention.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1; M. Milakov, N. Gimelshein, arXiv 1805.02867 (online softmax).

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
const TILE_N: u32 = 32; // queries a workgroup
const TILE_M: u32 = 32; // keys a tile
const STEP: u32 = 16; // elements of a head that are in workgroup memory at a time
const KEYS: u32 = 16; // keys whose values are in workgroup memory at a time
const BLOCKS: u32 = 2; // 1 to 4; TILE_M · BLOCKS ≥ Dv
const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter
const DROPOUT: bool = false;
const SIZE_X: u32 = TILE_M / 4;
const SIZE_Y: u32 = TILE_N / 4;
const WIDTH: u32 = BLOCKS * SIZE_X; // vec4 of a value, or of a row of out
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDES: u32 = 0xff61b1e6; // bits of −3e38: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0 && TILE_M % KEYS == 0 && BLOCKS <= 4;

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

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> v: array<K>;
@group(0) @binding(3) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(4) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> heads: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<Q>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

// q: [STEP][SIZE_Y], and k: [STEP][SIZE_X]; then the rows' maxima: [SIZE_Y][SIZE_X] of 4 rows; then v: [KEYS][WIDTH]; at the end, with dropout, the rows' sums
var<workgroup> tile: array<vec4f, max(STEP * (SIZE_X + SIZE_Y), max(SIZE_X * SIZE_Y, KEYS * WIDTH))>;
var<workgroup> w_tile: array<vec4f, TILE_M * SIZE_Y>; // weights, [TILE_M][SIZE_Y]

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

fn load_q(base: u32, n: u32, d: u32) -> f32 {
  let element = q[base + min(n, params.n - 1) * params.q_n + min(d, params.d - 1)];
  return select(0.0, f32(element) * params.scale_before, (n < params.n) & (d < params.d));
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

/// A block of 4 × 4 sums: one column vector a row of the result.
fn add_products(sums: mat4x4f, rows: vec4f, cols: vec4f) -> mat4x4f {
  return mat4x4f(
    fma(vec4f(rows.x), cols, sums[0]), fma(vec4f(rows.y), cols, sums[1]), fma(vec4f(rows.z), cols, sums[2]), fma(vec4f(rows.w), cols, sums[3]));
}

fn add_weighted(sum: vec4f, weight: f32, values: vec4f) -> vec4f {
  var result = fma(vec4f(weight), values, sum);
  if (SKIP_ZEROS) {
    result = select(result, sum, weight == 0.0);
  }
  return result;
}

fn add_weighted_products(sums: mat4x4f, weights: vec4f, values: vec4f) -> mat4x4f {
  return mat4x4f(
    add_weighted(sums[0], weights.x, values), add_weighted(sums[1], weights.y, values),
    add_weighted(sums[2], weights.z, values), add_weighted(sums[3], weights.w, values));
}

fn scale_rows(sums: mat4x4f, factors: vec4f) -> mat4x4f {
  return mat4x4f(sums[0] * factors.x, sums[1] * factors.y, sums[2] * factors.z, sums[3] * factors.w);
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

/// The scores of query n against 4 keys from first_m on; what it does not see is LOWEST. Tiles that every query sees whole compare their keys with the
/// band too: two comparisons of a vec4, beside 4 · D multiply-adds.
fn row_scores(dots: vec4f, place: Place, n: u32, first_m: u32) -> vec4f {
  let position = i32(n) + place.offset;
  let last = min(position + params.right, i32(place.length) - 1);
  let keys = vec4i(vec4u(first_m) + vec4u(0, 1, 2, 3));
  let is_seen = (keys <= vec4i(last)) & (keys >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  // A loop without a turn where only the position counts: a device on the CPU runs the body of an if in any case.
  let is_changed = params.mask_kind != 0 || params.softcap > 0.0 || params.has_alibi != 0;
  let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + min(n, params.n - 1) * params.mask_n;
  for (var j = select(4u, 0u, is_changed); j < 4; j++) {
    let m = min(first_m + j, params.m - 1);
    s[j] = masked(scaled(dots[j]) - place.slope * f32(abs(position - i32(m))), mask_row + m * params.mask_m);
  }
  return select(vec4f(LOWEST), s, is_seen);
}

fn largest(s: vec4f) -> f32 {
  return max(max(s.x, s.y), max(s.z, s.w));
}

/// exp(s − row_max) of what is not excluded.
fn weights_of(s: vec4f, row_max: f32) -> vec4f {
  let bits = bitcast<vec4u>(s);
  let is_excluded = (bits >= vec4u(EXCLUDES)) & (bits <= vec4u(MINUS_INFINITY));
  return select(exp(s - row_max), vec4f(), is_excluded);
}

fn dropped(weights: vec4f, head: u32, n: u32, first_m: u32) -> vec4f {
  return select(weights * params.keep_factor, vec4f(), philox(vec4u(first_m / 4, n, head, 0)) < vec4u(params.drop_below));
}

fn store(base: u32, first_n: u32, first_e: u32, values: mat4x4f) {
  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      if (first_n + i < params.n && first_e + j < params.dv) {
        out[base + (first_n + i) * params.out_n + first_e + j] = Q(values[i][j]);
      }
    }
  }
}

/// ln x, to a few units in the last place. WGSL allows its own log an absolute error of 2^-21 for x from 0.5 to 2, where ln x may be tiny.
/// There ln x is 2 · artanh(t), t = (x − 1) / (x + 1), by a polynomial that was fitted for |t| < 1/3, where its error is below 2^-27.
fn logarithm(x: vec4f) -> vec4f {
  let t = (x - 1.0) / (x + 1.0);
  let t2 = t * t;
  let near = 2.0 * t + t * t2 * (0.66666418 + t2 * (0.40021527 + t2 * (0.28001803 + 0.28011993 * t2)));
  return select(log(x), near, (x > vec4f(0.5)) & (x < vec4f(2.0)));
}

/// A workgroup's place in a grid of params.grid_x × grid_y × grid_z. What is beyond params.grid_z has no work.
fn grid_place(workgroup: vec3u, counts: vec3u) -> vec3u {
  let index = workgroup.x + counts.x * (workgroup.y + counts.y * workgroup.z);
  let row = index / params.grid_x;
  return vec3u(index % params.grid_x, row % params.grid_y, row / params.grid_y);
}

@compute @workgroup_size(SIZE_X, SIZE_Y)
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
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
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

  // The keys that some query of the workgroup sees; tiles begin at multiples of TILE_M.
  let first_position = i32(first_n) + offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(length))) / TILE_M * TILE_M;
  let end = u32(clamp(last_position + params.right + 1, 0, i32(length)));

  let own_n = first_n + 4 * local.y; // the first of this invocation's 4 queries
  var row_max = vec4f(LOWEST);
  var row_sum = vec4f(); // of the weights; with dropout, whose products have other weights, of this invocation's keys only
  var sums0 = mat4x4f(); // out, unnormalised: [4 queries][4 elements]
  var sums1 = mat4x4f();
  var sums2 = mat4x4f();
  var sums3 = mat4x4f();

  for (var first_m = begin; first_m < end; first_m += TILE_M) {
    // Initialised by hand: without, the variable kept its value from one turn of the loop to the next (Chrome 143, SwiftShader, 24 Nov 2026).
    var s = mat4x4f(); // [4 queries][4 keys]
    for (var first_d = 0u; first_d < params.d; first_d += STEP) {
      for (var i = lane; i < STEP * SIZE_Y; i += SIZE_X * SIZE_Y) {
        let d = first_d + i % STEP;
        let n = first_n + 4 * (i / STEP);
        tile[(i % STEP) * SIZE_Y + i / STEP] =
          vec4f(load_q(q_base, n, d), load_q(q_base, n + 1, d), load_q(q_base, n + 2, d), load_q(q_base, n + 3, d));
      }
      for (var i = lane; i < STEP * SIZE_X; i += SIZE_X * SIZE_Y) {
        let d = first_d + i % STEP;
        let m = first_m + 4 * (i / STEP);
        tile[STEP * SIZE_Y + (i % STEP) * SIZE_X + i / STEP] = vec4f(
          load_k(k_base, m, d, length), load_k(k_base, m + 1, d, length), load_k(k_base, m + 2, d, length), load_k(k_base, m + 3, d, length));
      }
      workgroupBarrier();
      for (var d = 0u; d < STEP; d++) {
        s = add_products(s, tile[d * SIZE_Y + local.y], tile[STEP * SIZE_Y + d * SIZE_X + local.x]);
      }
      workgroupBarrier();
    }

    // The rows' maximum, over the invocations that share them.
    let own_m = first_m + 4 * local.x;
    for (var i = 0u; i < 4; i++) { // each query in turn is the first
      s = mat4x4f(s[1], s[2], s[3], row_scores(s[0], place, own_n + i, own_m));
    }
    tile[lane] = vec4f(largest(s[0]), largest(s[1]), largest(s[2]), largest(s[3]));
    workgroupBarrier();
    var new_max = row_max;
    for (var x = 0u; x < SIZE_X; x++) {
      new_max = max(new_max, tile[local.y * SIZE_X + x]);
    }
    let rise = select(exp(row_max - new_max), vec4f(1.0), row_max == new_max); // where it stayed exactly 1, which exp(0) is not everywhere
    row_max = new_max;

    s = mat4x4f(weights_of(s[0], row_max.x), weights_of(s[1], row_max.y), weights_of(s[2], row_max.z), weights_of(s[3], row_max.w));
    row_sum *= rise;
    if (DROPOUT) {
      row_sum += vec4f(dot(s[0], vec4f(1.0)), dot(s[1], vec4f(1.0)), dot(s[2], vec4f(1.0)), dot(s[3], vec4f(1.0)));
      for (var i = 0u; i < 4; i++) {
        s = mat4x4f(s[1], s[2], s[3], dropped(s[0], place.head, own_n + i, own_m));
      }
    }
    let columns = transpose(s);
    let weights_at = 4 * local.x * SIZE_Y + local.y;
    w_tile[weights_at] = columns[0];
    w_tile[weights_at + SIZE_Y] = columns[1];
    w_tile[weights_at + 2 * SIZE_Y] = columns[2];
    w_tile[weights_at + 3 * SIZE_Y] = columns[3];

    sums0 = scale_rows(sums0, rise);
    if (BLOCKS > 1) {
      sums1 = scale_rows(sums1, rise);
    }
    if (BLOCKS > 2) {
      sums2 = scale_rows(sums2, rise);
    }
    if (BLOCKS > 3) {
      sums3 = scale_rows(sums3, rise);
    }
    for (var step = 0u; step < TILE_M; step += KEYS) {
      workgroupBarrier(); // w_tile is written; tile is no longer read
      for (var i = lane; i < KEYS * WIDTH; i += SIZE_X * SIZE_Y) {
        let m = first_m + step + i / WIDTH;
        let e = 4 * (i % WIDTH);
        tile[i] = vec4f(
          load_v(v_base, m, e, length), load_v(v_base, m, e + 1, length), load_v(v_base, m, e + 2, length), load_v(v_base, m, e + 3, length));
      }
      workgroupBarrier();
      for (var m = 0u; m < KEYS; m++) {
        let w = w_tile[(step + m) * SIZE_Y + local.y];
        let at = m * WIDTH + local.x;
        sums0 = add_weighted_products(sums0, w, tile[at]);
        if (BLOCKS > 1) {
          sums1 = add_weighted_products(sums1, w, tile[at + SIZE_X]);
        }
        if (BLOCKS > 2) {
          sums2 = add_weighted_products(sums2, w, tile[at + 2 * SIZE_X]);
        }
        if (BLOCKS > 3) {
          sums3 = add_weighted_products(sums3, w, tile[at + 3 * SIZE_X]);
        }
        if (!DROPOUT) {
          row_sum += w; // in the order of the products: what both lose by rounding cancels in their quotient
        }
      }
    }
    workgroupBarrier();
  }

  // With dropout the rows' sums are added up over the invocations that share them. Then the sink.
  var total = row_sum;
  if (DROPOUT) {
    tile[lane] = row_sum;
    workgroupBarrier();
    total = vec4f();
    for (var x = 0u; x < SIZE_X; x++) {
      total += tile[local.y * SIZE_X + x];
    }
  }
  var factor = vec4f(1.0); // of out, before it is divided by the total
  if (params.has_sinks != 0) {
    let sink = vec4f(heads[params.heads_offset + h * params.heads_row + params.heads_row - 1]);
    let with_sink = max(row_max, sink);
    factor = exp(row_max - with_sink);
    total = total * factor + exp(sink - with_sink);
    row_max = with_sink;
  }
  let is_empty = total == vec4f(); // the row sees neither key nor sink
  let normaliser = select(factor / total, vec4f(), is_empty);

  let out_base = params.out_offset + b * params.out_b + h * params.out_h;
  let own_e = 4 * local.x;
  store(out_base, own_n, own_e, scale_rows(sums0, normaliser));
  if (BLOCKS > 1) {
    store(out_base, own_n, own_e + TILE_M, scale_rows(sums1, normaliser));
  }
  if (BLOCKS > 2) {
    store(out_base, own_n, own_e + 2 * TILE_M, scale_rows(sums2, normaliser));
  }
  if (BLOCKS > 3) {
    store(out_base, own_n, own_e + 3 * TILE_M, scale_rows(sums3, normaliser));
  }
  if (params.has_lse != 0 && local.x == 0) {
    let value = select(row_max + logarithm(total), vec4f(LOWEST), is_empty);
    for (var i = 0u; i < 4; i++) {
      if (own_n + i < params.n) {
        lse[place.head * params.n + own_n + i] = value[i];
      }
    }
  }
}
