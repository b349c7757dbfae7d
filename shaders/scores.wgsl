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
// Parts: excluded, grid, key_length, scale, mask, forward, block, blocks_shape, tile_heads.

alias Q = f32; // storage of q
alias K = f32; // storage of k
alias Scores = f32; // what softcapped takes at once
const TILE_N: u32 = 16; // rows a workgroup
const TILE_M: u32 = 16; // keys a tile
const TILE_D: u32 = 16; // elements of a head a step
const TILES: u32 = 1; // a workgroup: browsers zero its memory first, which takes a device on the CPU as long as a tile
const ROWS: u32 = 1; // blocks of 4 rows an invocation: 1, 2 or 4
const COLS: u32 = 1; // blocks of 4 keys an invocation: 1, 2 or 4
const DIRECT: bool = false; // keys are loaded when they are needed, not kept in workgroup memory
const SIZE_X: u32 = TILE_M / (4 * COLS);

const_assert TILE_N % (4 * ROWS) == 0 && TILE_M % (4 * COLS) == 0;

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(3) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(4) var<storage, read> alibi_slopes: array<f32>;
@group(0) @binding(5) var<storage, read_write> scores: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> q_tile: array<vec4f, TILE_D * TILE_N / 4>; // [TILE_D][TILE_N / 4]
var<workgroup> k_tile: array<vec4f, select(TILE_D * TILE_M / 4, 1, DIRECT)>; // [TILE_D][TILE_M / 4]

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
    slope = alibi_slopes[params.heads_offset + h];
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
