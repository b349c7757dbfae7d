// enable
// embedding: x[b,n] = table[tokens[b,n]] + positions[n], words as vectors: each word's row of a table, and its place's vector added.
//
//   tokens [B,N], u32: rows of the table; one beyond the last has a vector of 0
//   table [vocabulary, width]     positions [N, width]
//   x [B,N,width], dense
//
// An invocation makes one element; where there are more than fit a grid it goes on to others.
// Source: A. Vaswani et al., Attention Is All You Need, arXiv 1706.03762, sections 3.4 and 3.5, with learned positions.

const SIZE: u32 = 64; // invocations a workgroup

struct Params {
  rows: u32, // B·N
  n: u32,
  width: u32,
  vocabulary: u32,
  tokens_offset: u32, // offsets in elements
  table_offset: u32,
  positions_offset: u32,
  x_offset: u32,
}

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  for (var i = id.x; i < params.rows * params.width; i += SIZE * groups.x) {
    let row = i / params.width;
    let d = i % params.width;
    let token = tokens[params.tokens_offset + row];
    var value = positions[params.positions_offset + (row % params.n) * params.width + d];
    if (token < params.vocabulary) {
      value += table[params.table_offset + token * params.width + d];
    }
    x[params.x_offset + i] = value;
  }
}
