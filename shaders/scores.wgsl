// enable
// scores: s = scale · q kᵀ → softcap → + ALiBi → mask, band, key lengths. The first of the three steps of attention.
//
//   q      [B,H,N,D]     k [B,Hk,M,D]     mask broadcast to [B,H,N,M]     key_lengths [B]     alibi_slopes [H]
//   scores [B,H,N,M], dense; an excluded element is LOWEST
//
// A workgroup computes TILES tiles of TILE_N rows × TILE_M keys; rows are the queries of tile_heads heads that read one key head, head by head. In each
// tile it walks over D in steps of TILE_D that it keeps in workgroup memory, transposed; an invocation holds 4·ROWS × 4·COLS sums in registers, so
// that a loaded value feeds 4 to 16 of them. For few rows DIRECT leaves the keys in their buffer: no other invocation loads them.
// Source: A. Vaswani et al., Attention Is All You Need, arXiv 1706.03762, section 3.2.1.

alias Q = f32; // storage of q
alias K = f32; // storage of k
const TILE_N: u32 = 16; // rows a workgroup
const TILE_M: u32 = 16; // keys a tile
const TILE_D: u32 = 16; // elements of a head a step
const TILES: u32 = 1; // a workgroup: browsers zero its memory first, which takes a device on the CPU as long as a tile
const ROWS: u32 = 1; // blocks of 4 rows an invocation: 1, 2 or 4
const COLS: u32 = 1; // blocks of 4 keys an invocation: 1, 2 or 4
const GROUPED: bool = false; // a workgroup may have several query heads
const DIRECT: bool = false; // keys are loaded when they are needed, not kept in workgroup memory
const SIZE_X: u32 = TILE_M / (4 * COLS);
const SIZE_Y: u32 = TILE_N / (4 * ROWS);
const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDES: u32 = 0xff61b1e6; // bits of −3e38: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the same for f16: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;

const_assert TILE_N % (4 * ROWS) == 0 && TILE_M % (4 * COLS) == 0;
const_assert ((ROWS <= 2 || ROWS == 4) && (COLS <= 2 || COLS == 4)); // in brackets: Firefox 153 ends the expression at the first closing one

struct Params {
  grid_x: u32, // workgroups that the work takes in x, y and z; the dispatch folds a grid that is too long for one dimension
  grid_y: u32,
  grid_z: u32,
  heads: u32, // H
  key_heads: u32, // Hk
  tile_heads: u32, // query heads a workgroup: a divisor of H / Hk, 1 without GROUPED
  n: u32,
  m: u32,
  d: u32,
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
  q_offset: u32, // offsets and strides in elements
  q_b: u32,
  q_h: u32,
  q_n: u32,
  k_offset: u32,
  k_b: u32,
  k_h: u32,
  k_m: u32,
  mask_offset: u32,
  mask_b: u32,
  mask_h: u32,
  mask_n: u32,
  mask_m: u32,
  key_lengths_offset: u32,
  alibi_offset: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(3) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(4) var<storage, read> alibi_slopes: array<f32>;
@group(0) @binding(5) var<storage, read_write> scores: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> q_tile: array<vec4f, TILE_D * TILE_N / 4>; // [TILE_D][TILE_N / 4]
var<workgroup> k_tile: array<vec4f, select(TILE_D * TILE_M / 4, 1, DIRECT)>; // [TILE_D][TILE_M / 4]

fn key_length(b: u32) -> u32 {
  if (params.has_key_lengths == 0) {
    return params.m;
  }
  return min(key_lengths[params.key_lengths_offset + b], params.m);
}

/// The query of a row, and its head counted from the workgroup's first. Past the last row the last one again.
fn query_of(row: u32) -> vec2u {
  let known = min(row, params.tile_heads * params.n - 1);
  if (!GROUPED) {
    return vec2u(known, 0);
  }
  return vec2u(known % params.n, known / params.n);
}

fn load_q(base: u32, row: u32, d: u32) -> f32 {
  let query = query_of(row);
  let element = q[base + query.y * params.q_h + query.x * params.q_n + min(d, params.d - 1)];
  return select(0.0, f32(element) * params.scale_before, d < params.d);
}

/// Where the rows of 4 keys from m on begin; past the last key it is the last one again.
fn key_rows(base: u32, m: u32, length: u32) -> vec4u {
  return vec4u(base) + min(vec4u(m) + vec4u(0, 1, 2, 3), vec4u(length - 1)) * params.k_m;
}

/// Element d of 4 keys.
fn load_keys(rows: vec4u, d: u32) -> vec4f {
  let e = rows + vec4u(min(d, params.d - 1));
  return select(vec4f(), vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])), d < params.d);
}

/// A block of 4 keys, in the step from first_d on the d-th of their elements.
fn key_block(rows: vec4u, block: u32, first_d: u32, d: u32) -> vec4f {
  if (DIRECT) {
    return load_keys(rows, first_d + d);
  }
  return k_tile[d * (TILE_M / 4) + block];
}

/// COLS blocks of 4 keys, SIZE_X blocks apart.
fn key_blocks(rows: array<vec4u, 4>, first: u32, first_d: u32, d: u32) -> array<vec4f, 4> {
  var keys = array<vec4f, 4>();
  keys[0] = key_block(rows[0], first, first_d, d);
  if (COLS > 1) {
    keys[1] = key_block(rows[1], first + SIZE_X, first_d, d);
  }
  if (COLS > 2) {
    keys[2] = key_block(rows[2], first + 2 * SIZE_X, first_d, d);
    keys[3] = key_block(rows[3], first + 3 * SIZE_X, first_d, d);
  }
  return keys;
}

/// A block of 4 × 4 sums: one column vector a row.
fn add_products(sums: mat4x4f, rows: vec4f, cols: vec4f) -> mat4x4f {
  return mat4x4f(
    fma(vec4f(rows.x), cols, sums[0]), fma(vec4f(rows.y), cols, sums[1]), fma(vec4f(rows.z), cols, sums[2]), fma(vec4f(rows.w), cols, sums[3]));
}

/// Adds the products of a block of 4 rows with all keys. Lines in place of a loop: the indices are literals once it is inlined.
fn add_row(sums: ptr<function, array<mat4x4f, ROWS * COLS>>, row: u32, queries: vec4f, keys: array<vec4f, 4>) {
  (*sums)[row * COLS] = add_products((*sums)[row * COLS], queries, keys[0]);
  if (COLS > 1) {
    (*sums)[row * COLS + 1] = add_products((*sums)[row * COLS + 1], queries, keys[1]);
  }
  if (COLS > 2) {
    (*sums)[row * COLS + 2] = add_products((*sums)[row * COLS + 2], queries, keys[2]);
    (*sums)[row * COLS + 3] = add_products((*sums)[row * COLS + 3], queries, keys[3]);
  }
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

/// Which heads a workgroup works on, and what their queries see.
struct Place {
  b: u32,
  h: u32, // the first
  length: u32, // keys that exist
  offset: i32, // position of query 0 among the keys
}

/// The scores of a row against 4 keys from first_m on; what it does not see is LOWEST.
fn row_scores(dots: vec4f, place: Place, row: u32, first_m: u32) -> vec4f {
  let query = query_of(row);
  let n = query.x;
  let h = place.h + query.y;
  let position = i32(n) + place.offset;
  let last = min(position + params.right, i32(place.length) - 1);
  let keys = vec4i(vec4u(first_m) + vec4u(0, 1, 2, 3));
  let is_seen = (keys <= vec4i(last)) & (keys >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  // A loop without a turn where only the position counts: a device on the CPU runs the body of an if in any case.
  let is_changed = params.mask_kind != 0 || params.softcap > 0.0 || params.has_alibi != 0;
  var slope = 0.0;
  if (params.has_alibi != 0) {
    slope = alibi_slopes[params.alibi_offset + h];
  }
  let mask_row = params.mask_offset + place.b * params.mask_b + h * params.mask_h + n * params.mask_n;
  for (var j = select(4u, 0u, is_changed); j < 4; j++) {
    let m = min(first_m + j, params.m - 1);
    s[j] = masked(scaled(dots[j]) - slope * f32(abs(position - i32(m))), mask_row + m * params.mask_m);
  }
  return select(vec4f(LOWEST), s, is_seen);
}

fn store(place: Place, row: u32, m: u32, s: vec4f) {
  let first = ((place.b * params.heads + place.h) * params.n + row) * params.m;
  let end = select(0u, min(params.m, m + 4), row < params.tile_heads * params.n);
  if (m < end) {
    scores[first + m] = s.x;
  }
  if (m + 1 < end) {
    scores[first + m + 1] = s.y;
  }
  if (m + 2 < end) {
    scores[first + m + 2] = s.z;
  }
  if (m + 3 < end) {
    scores[first + m + 3] = s.w;
  }
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
  let b = group.z * params.tile_heads / params.heads;
  let h = group.z * params.tile_heads % params.heads;
  let first_row = group.y * TILE_N;
  let length = key_length(b);
  let offset = select(params.causal_offset, i32(length) - i32(params.n), params.is_lower_right != 0);
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let k_base = params.k_offset + b * params.k_b + (h * params.key_heads / params.heads) * params.k_h;

  let place = Place(b, h, length, offset);
  // The queries of the tile's rows: with several heads any of them.
  let first_position = select(i32(first_row), 0, GROUPED) + offset;
  let last_position = i32(min(select(first_row + TILE_N, params.n, GROUPED), params.n) - 1) + offset;
  for (var tile = 0u; tile < TILES; tile++) {
    let first_m = (group.x * TILES + tile) * TILE_M;
    // A tile that no query sees is not computed.
    let is_seen = first_m < length && i32(first_m) <= last_position + params.right && i32(first_m + TILE_M) > first_position - params.left;

    var sums = array<mat4x4f, ROWS * COLS>(); // [ROWS][COLS], initialised by hand: see flash_forward.wgsl
    if (is_seen) {
      var rows = array<vec4u, 4>(); // of the invocation's own keys
      rows[0] = key_rows(k_base, first_m + 4 * local.x, length);
      if (COLS > 1) {
        rows[1] = key_rows(k_base, first_m + 4 * (local.x + SIZE_X), length);
      }
      if (COLS > 2) {
        rows[2] = key_rows(k_base, first_m + 4 * (local.x + 2 * SIZE_X), length);
        rows[3] = key_rows(k_base, first_m + 4 * (local.x + 3 * SIZE_X), length);
      }
      for (var first_d = 0u; first_d < params.d; first_d += TILE_D) {
        for (var i = lane; i < TILE_D * TILE_N / 4; i += SIZE_X * SIZE_Y) {
          let d = first_d + i % TILE_D;
          let row = first_row + 4 * (i / TILE_D);
          q_tile[(i % TILE_D) * (TILE_N / 4) + i / TILE_D] =
            vec4f(load_q(q_base, row, d), load_q(q_base, row + 1, d), load_q(q_base, row + 2, d), load_q(q_base, row + 3, d));
        }
        for (var i = lane; !DIRECT && i < TILE_D * TILE_M / 4; i += SIZE_X * SIZE_Y) {
          let d = first_d + i % TILE_D;
          let m = first_m + 4 * (i / TILE_D);
          k_tile[(i % TILE_D) * (TILE_M / 4) + i / TILE_D] = load_keys(key_rows(k_base, m, length), d);
        }
        workgroupBarrier();
        for (var d = 0u; d < TILE_D; d++) {
          let first = d * (TILE_N / 4) + local.y;
          let keys = key_blocks(rows, local.x, first_d, d);
          add_row(&sums, 0, q_tile[first], keys);
          if (ROWS > 1) {
            add_row(&sums, 1, q_tile[first + SIZE_Y], keys);
          }
          if (ROWS > 2) {
            add_row(&sums, 2, q_tile[first + 2 * SIZE_Y], keys);
            add_row(&sums, 3, q_tile[first + 3 * SIZE_Y], keys);
          }
        }
        workgroupBarrier();
      }
    }

    var finished = sums; // a copy: an array that is indexed with a variable anywhere stays in memory everywhere
    for (var i = 0u; i < ROWS * COLS * 4; i++) { // a loop, so that what it does is compiled once
      let row = first_row + 4 * (i / (4 * COLS) * SIZE_Y + local.y) + i % 4;
      let m = first_m + 4 * (i / 4 % COLS * SIZE_X + local.x);
      store(place, row, m, row_scores(finished[i / 4][i % 4], place, row, m));
    }
  }
}
