// enable
// scores: s = scale · q kᵀ → softcap → + ALiBi → mask, band, key lengths. The first of the three steps of attention.
//
//   q      [B,H,N,D]     k [B,Hk,M,D]     mask broadcast to [B,H,N,M]     key_lengths [B]     heads: alibi_slopes [H]
//   scores [B,H,N,M], dense; an excluded element is LOWEST
//
// A workgroup computes TILES tiles of TILE_N rows × TILE_M keys; rows are the queries of tile_heads heads that read one key head, head by head. In each
// tile it walks over D in steps of TILE_D that it keeps in workgroup memory, transposed; an invocation holds 4·ROWS × 4·COLS sums in registers, so
// that a loaded value feeds 4 to 16 of them. With DIRECT, for few rows, keys stay in their buffer: no other invocation loads them.
// Source: A. Vaswani et al., Attention Is All You Need, arXiv 1706.03762, section 3.2.1.
// Parts: forward, grid, forward_head, head, band, row_scores, block, blocks, tile_heads.

alias Q = f32; // storage of q
alias K = f32; // storage of k
alias Scores = f32; // the type of softcapped's argument: f32 or vec4f
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
@group(0) @binding(4) var<storage, read> heads: array<f32>;
@group(0) @binding(5) var<storage, read_write> scores: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> q_tile: array<vec4f, TILE_D * TILE_N / 4>; // [TILE_D][TILE_N / 4]
var<workgroup> k_tile: array<vec4f, select(TILE_D * TILE_M / 4, 1, DIRECT)>; // [TILE_D][TILE_M / 4]

fn load_q(base: u32, row: u32, d: u32) -> f32 {
  let query = query_of(row);
  let element = q[base + query.y * params.q_h + query.x * params.q_n + min(d, params.d - 1)];
  return select(0.0, f32(element) * params.scale_before, d < params.d);
}

/// Where the rows of 4 keys from m on begin. Past the last key the last key stands in.
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

/// COLS blocks of 4 keys.
fn key_blocks(rows: array<vec4u, COLS>, first: u32, first_d: u32, d: u32) -> Columns {
  var keys: Columns;
  for (var c = 0u; c < COLS; c++) { keys[c] = key_block(rows[c], first + c * SIZE_X, first_d, d); } //! unroll
  return keys;
}

/// Adds the products of a block of 4 rows with all keys.
fn add_row(sums: ptr<function, Sums>, row: u32, queries: vec4f, keys: Columns) {
  for (var c = 0u; c < COLS; c++) { (*sums)[row * COLS + c] = add_products((*sums)[row * COLS + c], queries, keys[c]); } //! unroll
}

/// @param head the workgroup's first
fn store(head: Head, row: u32, m: u32, s: vec4f) {
  let first = (head.index * params.n + row) * params.m;
  let end = select(0u, min(params.m, m + 4), row < params.tile_heads * params.n);
  for (var i = 0u; i < 4; i++) { if (m + i < end) { scores[first + m + i] = s[i]; } } //! unroll
}

@compute @workgroup_size(SIZE_X, SIZE_Y)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let head = head_at(group.z * params.tile_heads); // the first
  let first_row = group.y * TILE_N;
  let q_at = q_base(head);
  let k_at = k_base(head);
  let band = band_of(head, select(first_row, 0, GROUPED), select(TILE_N, params.n, GROUPED)); // with several heads any query may be in the tile
  for (var tile = 0u; tile < TILES; tile++) {
    let first_m = (group.x * TILES + tile) * TILE_M;
    // A tile that no query sees is not computed.
    let is_visible = first_m < band.end && first_m + TILE_M > band.begin;

    var sums = Sums(); // initialised by hand: see parts/tile_products.wgsl
    if (is_visible) {
      var rows: array<vec4u, COLS>; // where the invocation's keys begin
      for (var c = 0u; c < COLS; c++) { rows[c] = key_rows(k_at, first_m + 4 * (local.x + c * SIZE_X), head.length); } //! unroll
      for (var first_d = 0u; first_d < params.d; first_d += TILE_D) {
        for (var i = lane; i < TILE_D * TILE_N / 4; i += SIZE_X * SIZE_Y) {
          let d = first_d + i % TILE_D;
          let row = first_row + 4 * (i / TILE_D);
          q_tile[(i % TILE_D) * (TILE_N / 4) + i / TILE_D] =
            vec4f(load_q(q_at, row, d), load_q(q_at, row + 1, d), load_q(q_at, row + 2, d), load_q(q_at, row + 3, d));
        }
        for (var i = lane; !DIRECT && i < TILE_D * TILE_M / 4; i += SIZE_X * SIZE_Y) {
          let d = first_d + i % TILE_D;
          let m = first_m + 4 * (i / TILE_D);
          k_tile[(i % TILE_D) * (TILE_M / 4) + i / TILE_D] = load_keys(key_rows(k_at, m, head.length), d);
        }
        workgroupBarrier();
        for (var d = 0u; d < TILE_D; d++) {
          let first = d * (TILE_N / 4) + local.y;
          let keys = key_blocks(rows, local.x, first_d, d);
          for (var r = 0u; r < ROWS; r++) { add_row(&sums, r, q_tile[first + r * SIZE_Y], keys); } //! unroll
        }
        workgroupBarrier();
      }
    }

    var finished = sums; // a copy: an array that is indexed with a variable anywhere stays in memory everywhere
    for (var i = 0u; i < ROWS * COLS * 4; i++) { // a loop: its body is compiled once
      let row = first_row + 4 * (i / (4 * COLS) * SIZE_Y + local.y) + i % 4;
      let m = first_m + 4 * (i / 4 % COLS * SIZE_X + local.x);
      let query = query_of(row);
      store(head, row, m, row_scores(finished[i / 4][i % 4], sibling(head, query.y), query.x, m));
    }
  }
}
