// reduce: the maximum and the sum of what the lanes of a row have. Every invocation of the workgroup must call them: they have barriers.

const LANES: u32 = 16; // invocations a row, a power of 2
const ROWS: u32 = 4; // rows a workgroup

const_assert countOneBits(LANES) == 1;

var<workgroup> partial: array<f32, ROWS * LANES>; // [ROWS][LANES]

/// @param first the row's first element of partial
fn max_of_lanes(value: f32, first: u32, lane: u32) -> f32 {
  workgroupBarrier(); // partial is no longer read
  partial[first + lane] = value;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[first + lane] = max(partial[first + lane], partial[first + lane + half]);
    }
  }
  workgroupBarrier();
  return partial[first];
}

/// The order of the sum is always the same: by halves.
fn sum_of_lanes(value: f32, first: u32, lane: u32) -> f32 {
  workgroupBarrier();
  partial[first + lane] = value;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[first + lane] += partial[first + lane + half];
    }
  }
  workgroupBarrier();
  return partial[first];
}
