// enable
// flash_backward_sinks: dsinks = −Σ exp(sink − lse) · delta over the rows of a head, the gradient of the sinks.
//
//   sinks [H]    rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dsinks [H]
//
// A workgroup computes one head. Each invocation sums every SIZE-th row. The invocations' sums are added by halves, always in the same order.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward_options.test.ts.
// Parts: excluded, grid.

const SIZE: u32 = 64; // invocations a workgroup, a power of 2
const LOWEST_BITS: u32 = 0xff7fffff; // of the lowest finite f32: the row sees nothing, not even a sink

struct Params {
  grid_x: u32, // workgroups that the work takes in x, y and z; the dispatch folds a grid that is too long for one dimension
  grid_y: u32,
  grid_z: u32,
  batch: u32, // B
  heads: u32, // H
  n: u32,
  sinks_offset: u32, // offsets in elements
  dsinks_offset: u32,
}

@group(0) @binding(0) var<storage, read> sinks: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, …
@group(0) @binding(2) var<storage, read_write> dsinks: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partial: array<f32, SIZE>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let h = group.x;
  let sink = sinks[params.sinks_offset + h];
  let is_absent = is_excluded(sink);
  var sum = 0.0;
  for (var b = 0u; b < params.batch; b++) {
    for (var n = lane; n < params.n; n += SIZE) {
      let row = rows[(b * params.heads + h) * params.n + n];
      if (row.x != LOWEST_BITS && !is_absent) {
        sum -= exp(sink - bitcast<f32>(row.x)) * bitcast<f32>(row.y);
      }
    }
  }
  partial[lane] = sum;
  for (var reach = SIZE / 2; reach > 0; reach /= 2) {
    workgroupBarrier();
    if (lane < reach) {
      partial[lane] += partial[lane + reach];
    }
  }
  if (lane == 0) {
    dsinks[params.dsinks_offset + h] = partial[0];
  }
}
