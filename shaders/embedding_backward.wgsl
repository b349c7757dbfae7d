// enable
// embedding_backward: the gradients of embedding. A row of the table gathers from every word that read it, a place from its word of every sentence:
//
//   dtable[v] = Σ dx[b,n] over tokens[b,n] = v     dpositions[n] = Σ_b dx[b,n]
//
//   tokens [B,N], u32     dx [B,N,width], dense
//   gradient: dtable [vocabulary, width] and dpositions [N, width], wherever they lie in one buffer
//
// An invocation sums one element, in the order of the words: no atomics, so the same call gives the same bits. It reads every token, which suits
// vocabularies and batches of a few thousand. Twin and test are those of embedding.

const SIZE: u32 = 64; // invocations a workgroup

struct Params {
  batch: u32,
  n: u32,
  width: u32,
  vocabulary: u32,
  tokens_offset: u32, // offsets in elements
  dx_offset: u32,
  table_offset: u32, // of the gradients
  positions_offset: u32,
}

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> dx: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn table_gradient(v: u32, d: u32) -> f32 {
  var sum = 0.0;
  for (var row = 0u; row < params.batch * params.n; row++) {
    if (tokens[params.tokens_offset + row] == v) {
      sum += dx[params.dx_offset + row * params.width + d];
    }
  }
  return sum;
}

fn position_gradient(n: u32, d: u32) -> f32 {
  var sum = 0.0;
  for (var b = 0u; b < params.batch; b++) {
    sum += dx[params.dx_offset + (b * params.n + n) * params.width + d];
  }
  return sum;
}

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let in_table = params.vocabulary * params.width;
  for (var i = id.x; i < in_table + params.n * params.width; i += SIZE * groups.x) {
    if (i < in_table) {
      gradient[params.table_offset + i] = table_gradient(i / params.width, i % params.width);
    } else {
      let at = i - in_table;
      gradient[params.positions_offset + at] = position_gradient(at / params.width, at % params.width);
    }
  }
}
