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

const TILE_N: u32 = 16; // rows a workgroup
const TILE_O: u32 = 16; // outputs a workgroup
const TILE_I: u32 = 16; // inputs a step
const ROWS: u32 = 1; // blocks of 4 rows an invocation, 1 or 2
const COLS: u32 = 1; // blocks of 4 outputs an invocation, 1 or 2
const SIZE_X: u32 = TILE_O / (4 * COLS);
const SIZE_Y: u32 = TILE_N / (4 * ROWS);

const_assert TILE_N % (4 * ROWS) == 0 && TILE_O % (4 * COLS) == 0;
const_assert ROWS <= 2 && COLS <= 2;

struct Params {
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

/// A block of 4 × 4 sums: one column vector a row of the result. Named blocks and no arrays, so that every compiler keeps them in registers.
fn add_products(sums: mat4x4f, rows: vec4f, cols: vec4f) -> mat4x4f {
  return mat4x4f(
    fma(vec4f(rows.x), cols, sums[0]), fma(vec4f(rows.y), cols, sums[1]), fma(vec4f(rows.z), cols, sums[2]), fma(vec4f(rows.w), cols, sums[3]));
}

fn store(first_n: u32, first_o: u32, sums: mat4x4f) {
  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      let o = first_o + j;
      if (first_n + i < params.rows && o < params.out_width) {
        var value = sums[i][j];
        if (params.has_bias != 0) {
          value += bias[params.bias_offset + o];
        }
        let at = params.y_offset + (first_n + i) * params.out_width + o;
        if (params.accumulates != 0) {
          value += y[at];
        }
        y[at] = value;
      }
    }
  }
}

@compute @workgroup_size(SIZE_X, SIZE_Y)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first_n = group.y * TILE_N;
  let first_o = group.x * TILE_O;

  var s00: mat4x4f; // [4 rows][4 outputs]
  var s01: mat4x4f;
  var s10: mat4x4f;
  var s11: mat4x4f;
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
      let inputs = x_tile[i * (TILE_N / 4) + local.y];
      let weights = w_tile[i * (TILE_O / 4) + local.x];
      s00 = add_products(s00, inputs, weights);
      if (COLS == 2) {
        s01 = add_products(s01, inputs, w_tile[i * (TILE_O / 4) + SIZE_X + local.x]);
      }
      if (ROWS == 2) {
        let more = x_tile[i * (TILE_N / 4) + SIZE_Y + local.y];
        s10 = add_products(s10, more, weights);
        if (COLS == 2) {
          s11 = add_products(s11, more, w_tile[i * (TILE_O / 4) + SIZE_X + local.x]);
        }
      }
    }
    workgroupBarrier();
  }

  let n = first_n + 4 * local.y;
  let o = first_o + 4 * local.x;
  store(n, o, s00);
  if (COLS == 2) {
    store(n, o + 4 * SIZE_X, s01);
  }
  if (ROWS == 2) {
    store(n + 4 * SIZE_Y, o, s10);
    if (COLS == 2) {
      store(n + 4 * SIZE_Y, o + 4 * SIZE_X, s11);
    }
  }
}
