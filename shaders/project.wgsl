// enable
// project: y = x · w + bias, a linear projection: the trainable query, key, value and output weights of attention. And its gradients: x and w may
// be views of transposed matrices.
//
//   x [rows, width]     w [width, out_width]     bias [out_width]
//   y [rows, out_width], dense; with `accumulates` the product is added to what is there
//
// A workgroup computes a tile of TILE_N rows × TILE_O outputs. It walks over the width in steps of TILE_I that it keeps in workgroup
// memory; an invocation holds 4·ROWS × 4·COLS sums in registers.
// Source: A. Vaswani et al., Attention Is All You Need, arXiv 1706.03762, section 3.2.2.
// Parts: grid, block, blocks.

const TILE_N: u32 = 16; // rows a workgroup
const TILE_O: u32 = 16; // outputs a workgroup
const TILE_I: u32 = 16; // inputs a step
const ROWS: u32 = 1; // blocks of 4 rows an invocation: 1, 2 or 4
const COLS: u32 = 1; // blocks of 4 outputs an invocation: 1, 2 or 4
const SIZE_X: u32 = TILE_O / (4 * COLS);

const_assert TILE_N % (4 * ROWS) == 0 && TILE_O % (4 * COLS) == 0;

struct Params {
  grid_x: u32, // workgroups that the work takes in x, y and z; the dispatch folds a grid that is too long for one dimension
  grid_y: u32,
  grid_z: u32,
  rows: u32,
  width: u32,
  out_width: u32,
  has_bias: u32,
  x_offset: u32, // offsets and strides in elements
  x_row: u32,
  x_col: u32,
  w_offset: u32,
  w_row: u32,
  w_col: u32,
  bias_offset: u32,
  y_offset: u32,
  accumulates: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> x_tile: array<vec4f, TILE_I * TILE_N / 4>; // [TILE_I][TILE_N / 4]
var<workgroup> w_tile: array<vec4f, TILE_I * TILE_O / 4>; // [TILE_I][TILE_O / 4]

fn load_x(n: u32, i: u32) -> f32 {
  let element = x[params.x_offset + min(n, params.rows - 1) * params.x_row + min(i, params.width - 1) * params.x_col];
  return select(0.0, element, (n < params.rows) & (i < params.width));
}

fn load_w(i: u32, o: u32) -> f32 {
  let element = w[params.w_offset + min(i, params.width - 1) * params.w_row + min(o, params.out_width - 1) * params.w_col];
  return select(0.0, element, (i < params.width) & (o < params.out_width));
}

/// COLS blocks of 4 weights.
fn load_weights(first: u32) -> Columns {
  var weights: Columns;
  for (var c = 0u; c < COLS; c++) { weights[c] = w_tile[first + c * SIZE_X]; } //! unroll
  return weights;
}

/// Adds the products of a block of 4 rows with all weights.
fn add_row(sums: ptr<function, Sums>, row: u32, inputs: vec4f, weights: Columns) {
  for (var c = 0u; c < COLS; c++) { (*sums)[row * COLS + c] = add_products((*sums)[row * COLS + c], inputs, weights[c]); } //! unroll
}

fn store(n: u32, first_o: u32, values: vec4f) {
  let end = select(0u, min(params.out_width, first_o + 4), n < params.rows);
  for (var o = first_o; o < end; o++) {
    var value = values[o - first_o];
    if (params.has_bias != 0) {
      value += bias[params.bias_offset + o];
    }
    let at = params.y_offset + n * params.out_width + o;
    if (params.accumulates != 0) {
      value += y[at];
    }
    y[at] = value;
  }
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
  let first_n = group.y * TILE_N;
  let first_o = group.x * TILE_O;

  var sums: Sums;
  for (var first_i = 0u; first_i < params.width; first_i += TILE_I) {
    for (var t = lane; t < TILE_I * TILE_N / 4; t += SIZE_X * SIZE_Y) {
      let i = first_i + t % TILE_I;
      let n = first_n + 4 * (t / TILE_I);
      x_tile[(t % TILE_I) * (TILE_N / 4) + t / TILE_I] = vec4f(load_x(n, i), load_x(n + 1, i), load_x(n + 2, i), load_x(n + 3, i));
    }
    for (var t = lane; t < TILE_I * TILE_O / 4; t += SIZE_X * SIZE_Y) {
      let i = first_i + t / (TILE_O / 4);
      let o = first_o + 4 * (t % (TILE_O / 4));
      w_tile[t] = vec4f(load_w(i, o), load_w(i, o + 1), load_w(i, o + 2), load_w(i, o + 3));
    }
    workgroupBarrier();
    for (var i = 0u; i < TILE_I; i++) {
      let first = i * (TILE_N / 4) + local.y;
      let weights = load_weights(i * (TILE_O / 4) + local.x);
      for (var r = 0u; r < ROWS; r++) { add_row(&sums, r, x_tile[first + r * SIZE_Y], weights); } //! unroll
    }
    workgroupBarrier();
  }

  var finished = sums; // a copy: an array that is indexed with a variable anywhere stays in memory everywhere
  for (var i = 0u; i < ROWS * COLS * 4; i++) { // a loop: its body is compiled once
    let n = first_n + 4 * (i / (4 * COLS) * SIZE_Y + local.y) + i % 4;
    let o = first_o + 4 * (i / 4 % COLS * SIZE_X + local.x);
    store(n, o, finished[i / 4][i % 4]);
  }
}
