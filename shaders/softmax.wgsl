// enable
// softmax: weights = exp(s − max s) / Σ exp(s − max s), row by row, in place. The second of the three steps of attention.
//
//   scores [B,H,N,M], dense: masked scores in, weights out; an excluded element weighs 0, and so does a row of nothing else
//   sinks  [H]: one more score a row, in the maximum and in the sum, that has no weight of its own
//   lse    [B,H,N]: max s + ln Σ exp(s − max s), the lowest finite f32 for a row that sees neither key nor sink
//
// LANES invocations share a row, ROWS rows share a workgroup. Each lane walks over every LANES-th element three times:
// for the maximum, which cancels but keeps every exponent ≤ 0; for the sum; and to write.
// Source: M. Milakov, N. Gimelshein, Online normalizer calculation for softmax, arXiv 1805.02867, algorithm 2 (safe softmax).
// Parts: excluded, grid, logarithm, reduce.

struct Params {
  grid_x: u32, // workgroups that the work takes in x, y and z; the dispatch folds a grid that is too long for one dimension
  grid_y: u32,
  grid_z: u32,
  heads: u32,
  n: u32,
  m: u32,
  has_lse: u32,
  has_sinks: u32,
  sinks_offset: u32, // in elements
}

@group(0) @binding(0) var<storage, read_write> scores: array<f32>;
@group(0) @binding(1) var<storage, read> sinks: array<f32>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

/// Four elements of a row, LANES apart, so that neighbouring lanes touch neighbouring elements; LOWEST past the row's end. m < length.
fn load(base: u32, m: u32, length: u32) -> vec4f {
  let elements = vec4u(m, m + LANES, m + 2 * LANES, m + 3 * LANES);
  let is_there = elements < vec4u(length);
  let i = base + select(vec4u(m), elements, is_there); // where an element is not there, the lane's first one: no other lane writes it
  return select(vec4f(LOWEST), vec4f(scores[i.x], scores[i.y], scores[i.z], scores[i.w]), is_there);
}

fn store_one(base: u32, m: u32, length: u32, weight: f32) {
  if (m < length) {
    scores[base + m] = weight;
  }
}

fn store(base: u32, m: u32, length: u32, weights: vec4f) {
  store_one(base, m, length, weights.x);
  store_one(base, m + LANES, length, weights.y);
  store_one(base, m + 2 * LANES, length, weights.z);
  store_one(base, m + 3 * LANES, length, weights.w);
}

@compute @workgroup_size(LANES, ROWS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let lane = local.x;
  let n = group.x * ROWS + local.y;
  let row = group.y * params.n + n;
  let base = row * params.m;
  let length = select(0u, params.m, n < params.n); // a row past the end takes part in the barriers only
  let slot = local.y * LANES;

  var sink = LOWEST; // LOWEST: none
  if (params.has_sinks != 0) {
    sink = sinks[params.sinks_offset + group.y % params.heads];
  }

  var row_max = sink;
  for (var m = lane; m < length; m += 4 * LANES) {
    let s = load(base, m, length);
    let visible = select(s, vec4f(LOWEST), are_excluded(s));
    row_max = max(row_max, max(max(visible.x, visible.y), max(visible.z, visible.w)));
  }
  row_max = max_of_lanes(row_max, slot, lane);

  var row_sum = 0.0;
  for (var m = lane; m < length; m += 4 * LANES) {
    let s = load(base, m, length);
    row_sum += dot(select(exp(s - row_max), vec4f(), are_excluded(s)), vec4f(1.0));
  }
  row_sum = sum_of_lanes(row_sum, slot, lane);
  if (params.has_sinks != 0) {
    row_sum += exp(sink - row_max);
  }

  let divisor = select(row_sum, 1.0, row_sum == 0.0); // a row whose elements are all excluded
  for (var m = lane; m < length; m += 4 * LANES) {
    let s = load(base, m, length);
    store(base, m, length, select(exp(s - row_max) / divisor, vec4f(), are_excluded(s)));
  }
  if (params.has_lse != 0 && lane == 0 && n < params.n) {
    var value = LOWEST;
    if (row_sum > 0.0) {
      value = row_max + logarithm(row_sum);
    }
    lse[row] = value;
  }
}
