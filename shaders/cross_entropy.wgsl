// enable
// cross_entropy: what a row of logits loses for its target, and the gradient of the losses' sum over divisor:
//
//   loss = −ln softmax(logits)[target]     gradient = (softmax(logits) − one-hot(target)) / divisor
//
//   logits [rows, classes], dense     targets [rows], u32: the right class; a row whose target is `classes` or more has loss and gradient 0
//   losses [rows]     gradient [rows, classes], dense
//
// LANES invocations share a row, ROWS rows share a workgroup. Each lane walks over every LANES-th class three times: for the maximum, which cancels
// but keeps every exponent ≤ 0; for the sum; and to write.
// Source: I. Goodfellow et al., Deep Learning, 2016, section 6.2.2.3.
// Parts: excluded, grid, logarithm, reduce.

struct Params {
  grid_x: u32, // workgroups that the work takes in x, y and z; the dispatch folds a grid that is too long for one dimension
  grid_y: u32,
  grid_z: u32,
  rows: u32,
  classes: u32,
  has_gradient: u32,
  divisor: f32,
  logits_offset: u32, // offsets in elements
  targets_offset: u32,
  losses_offset: u32,
  gradient_offset: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(LANES, ROWS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let lane = local.x;
  let slot = local.y * LANES;
  let row = group.x * ROWS + local.y;
  let is_row = row < params.rows;
  let classes = select(0u, params.classes, is_row); // a row past the end takes part in the barriers only
  let base = params.logits_offset + row * params.classes;

  var row_max = LOWEST;
  for (var c = lane; c < classes; c += LANES) {
    row_max = max(row_max, logits[base + c]);
  }
  row_max = max_of_lanes(row_max, slot, lane);

  var row_sum = 0.0;
  for (var c = lane; c < classes; c += LANES) {
    row_sum += exp(logits[base + c] - row_max);
  }
  row_sum = sum_of_lanes(row_sum, slot, lane);

  if (!is_row) {
    return;
  }
  let target_class = targets[params.targets_offset + row];
  let is_target = target_class < params.classes;
  if (lane == 0) {
    var loss = 0.0;
    if (is_target) {
      loss = logarithm(row_sum) - (logits[base + target_class] - row_max);
    }
    losses[params.losses_offset + row] = loss;
  }
  if (params.has_gradient == 0) {
    return;
  }
  for (var c = lane; c < classes; c += LANES) {
    let wrong = exp(logits[base + c] - row_max) / row_sum - select(0.0, 1.0, c == target_class);
    gradient[params.gradient_offset + row * params.classes + c] = select(0.0, wrong / params.divisor, is_target);
  }
}
