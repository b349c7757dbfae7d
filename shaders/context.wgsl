// enable
// context: out = dropout(weights) · v, the values summed by their weights. The last of the three steps of attention.
//
//   weights [B,H,N,M], dense     v [B,Hk,M,Dv]     key_lengths [B]
//   out     [B,H,N,Dv]
//
// A workgroup computes a tile of TILE_N rows × TILE_DV elements; rows are the queries of tile_heads heads that read one key head, head by head. It walks
// over the keys in steps of TILE_M that it keeps in workgroup memory; an invocation holds 4·ROWS × 4·COLS sums in registers. Keys that no query of
// the tile sees are not loaded. With DIRECT, for few rows, weights and values stay in their buffers: few invocations share them. SLOTS groups of
// invocations take steps of their own then, and add up their sums at the end.
// Source: A. Vaswani et al., Attention Is All You Need, arXiv 1706.03762, section 3.2.1.
// Parts: forward, grid, key_length, head, band, dropout, weighted, blocks, tile_heads.

alias K = f32; // storage of v
alias Q = f32; // storage of out
const TILE_N: u32 = 16; // rows a workgroup
const TILE_DV: u32 = 16; // elements of a head a workgroup
const TILE_M: u32 = 16; // keys a step
const ROWS: u32 = 1; // blocks of 4 rows an invocation: 1, 2 or 4
const COLS: u32 = 1; // blocks of 4 elements an invocation: 1, 2 or 4
const DIRECT: bool = false; // weights and values are loaded when they are needed, not kept in workgroup memory
const SLOTS: u32 = 1; // steps at once; 1 without DIRECT
const SIZE_X: u32 = TILE_DV / (4 * COLS);

const_assert TILE_N % (4 * ROWS) == 0 && TILE_DV % (4 * COLS) == 0;
const_assert DIRECT || SLOTS == 1;

@group(0) @binding(0) var<storage, read> weights: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<K>;
@group(0) @binding(2) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<Q>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> w_tile: array<vec4f, select(TILE_M * TILE_N / 4, 1, DIRECT)>; // [TILE_M][TILE_N / 4]
var<workgroup> v_tile: array<vec4f, select(TILE_M * TILE_DV / 4, 1, DIRECT)>; // [TILE_M][TILE_DV / 4]
var<workgroup> partial: array<vec4f, select(1, SLOTS * SIZE_Y * SIZE_X, SLOTS > 1)>; // [SLOTS][SIZE_Y][SIZE_X]

/// A weight after dropout. `head` is b · H + h of the workgroup's first.
fn load_weight(head: u32, row: u32, m: u32, end: u32) -> f32 {
  var weight = weights[(head * params.n + min(row, params.tile_heads * params.n - 1)) * params.m + min(m, end - 1)];
  if (DROPOUT) {
    let query = query_of(row);
    let word = philox(vec4u(m / 4, query.x, head + query.y, 0))[m % 4];
    weight = select(weight * params.keep_factor, 0.0, word < params.drop_below);
  }
  return select(0.0, weight, m < end);
}

/// 4 elements of value m from e on.
fn load_values(base: u32, m: u32, e: u32, end: u32) -> vec4f {
  let at = vec4u(base + min(m, end - 1) * params.v_m) + min(vec4u(e) + vec4u(0, 1, 2, 3), vec4u(params.dv - 1));
  return select(vec4f(), vec4f(f32(v[at.x]), f32(v[at.y]), f32(v[at.z]), f32(v[at.w])), m < end);
}

/// The weights of 4 rows for key m.
fn load_weights(head: u32, row: u32, m: u32, end: u32) -> vec4f {
  return vec4f(load_weight(head, row, m, end), load_weight(head, row + 1, m, end), load_weight(head, row + 2, m, end), load_weight(head, row + 3, m, end));
}

/// One step of a tile: TILE_M keys.
struct Keys {
  head: u32, // b · H + h of the workgroup's first
  v_base: u32,
  first_row: u32,
  first_e: u32,
  first_m: u32,
  end: u32,
}

/// The weights of a block of 4 rows for the m-th of the step's keys.
fn weight_block(keys: Keys, block: u32, m: u32) -> vec4f {
  if (DIRECT) {
    return load_weights(keys.head, keys.first_row + 4 * block, keys.first_m + m, keys.end);
  }
  return w_tile[m * (TILE_N / 4) + block];
}

/// A block of 4 elements of the m-th of the step's values.
fn value_block(keys: Keys, block: u32, m: u32) -> vec4f {
  if (DIRECT) {
    return load_values(keys.v_base, keys.first_m + m, keys.first_e + 4 * block, keys.end);
  }
  return v_tile[m * (TILE_DV / 4) + block];
}

/// COLS blocks of 4 elements.
fn value_blocks(keys: Keys, first: u32, m: u32) -> Columns {
  var values: Columns;
  for (var c = 0u; c < COLS; c++) { values[c] = value_block(keys, first + c * SIZE_X, m); } //! unroll
  return values;
}

/// Adds the products of the weights of 4 rows with all values.
fn add_row(sums: ptr<function, Sums>, row: u32, w: vec4f, values: Columns) {
  for (var c = 0u; c < COLS; c++) { (*sums)[row * COLS + c] = add_weighted_products((*sums)[row * COLS + c], w, values[c]); } //! unroll
}

/// The sum of the slots' values, in slot 0.
fn over_slots(value: vec4f, slot: u32, column: u32) -> vec4f {
  partial[slot * SIZE_X * SIZE_Y + column] = value;
  workgroupBarrier();
  var sum = vec4f();
  for (var other = select(SLOTS, 0, slot == 0); other < SLOTS; other++) {
    sum += partial[other * SIZE_X * SIZE_Y + column];
  }
  workgroupBarrier();
  return sum;
}

fn store(first: u32, row: u32, e: u32, values: vec4f) {
  let query = query_of(row);
  let base = first + query.y * params.out_h + query.x * params.out_n;
  let end = select(0u, min(params.dv, e + 4), row < params.tile_heads * params.n);
  for (var i = 0u; i < 4; i++) { if (e + i < end) { out[base + e + i] = Q(values[i]); } } //! unroll
}

@compute @workgroup_size(SIZE_X, SIZE_Y, SLOTS)
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
  let index = group.z * params.tile_heads;
  let b = index / params.heads;
  let head = head_with(b, index % params.heads, key_length(b), 0.0); // the first
  let first_row = group.y * TILE_N;
  let first_e = group.x * TILE_DV;
  let v_at = v_base(head);
  let band = band_of(head, select(first_row, 0, GROUPED), select(TILE_N, params.n, GROUPED)); // with several heads any query may be in the tile

  var sums: Sums;
  for (var first_m = band.begin; first_m < band.end; first_m += TILE_M * SLOTS) {
    for (var i = lane; !DIRECT && i < TILE_M * TILE_N / 4; i += SIZE_X * SIZE_Y) {
      let m = first_m + i % TILE_M;
      w_tile[(i % TILE_M) * (TILE_N / 4) + i / TILE_M] = load_weights(head.index, first_row + 4 * (i / TILE_M), m, band.end);
    }
    for (var i = lane; !DIRECT && i < TILE_M * TILE_DV / 4; i += SIZE_X * SIZE_Y) {
      let m = first_m + i / (TILE_DV / 4);
      v_tile[i] = load_values(v_at, m, first_e + 4 * (i % (TILE_DV / 4)), band.end);
    }
    if (!DIRECT) {
      workgroupBarrier();
    }
    let keys = Keys(head.index, v_at, first_row, first_e, first_m + TILE_M * local.z, band.end);
    for (var m = 0u; m < TILE_M; m++) {
      let values = value_blocks(keys, local.x, m);
      for (var r = 0u; r < ROWS; r++) { add_row(&sums, r, weight_block(keys, local.y + r * SIZE_Y, m), values); } //! unroll
    }
    if (!DIRECT) {
      workgroupBarrier();
    }
  }

  let base = params.out_offset + head.b * params.out_b + head.h * params.out_h;
  var finished = sums; // a copy: an array that is indexed with a variable anywhere stays in memory everywhere
  for (var i = 0u; i < ROWS * COLS * 4; i++) { // a loop: its body is compiled once
    let row = first_row + 4 * (i / (4 * COLS) * SIZE_Y + local.y) + i % 4;
    let e = first_e + 4 * (i / 4 % COLS * SIZE_X + local.x);
    var values = finished[i / 4][i % 4];
    if (SLOTS > 1) {
      values = over_slots(values, local.z, local.y * SIZE_X + local.x);
    }
    if (local.z == 0) {
      store(base, row, e, values);
    }
  }
}
