// quad: 4, 8 or 16 lanes that share rows.

const WIDTH: u32 = 0; // of a subgroup; 0: the compiler chooses. Above 0 @subgroup_size(WIDTH) stands before main
const SIZE: u32 = 64; // invocations a workgroup
const LANES: u32 = 4; // invocations that share rows: 4, 8 or 16, in one subgroup
const ARE_HALVES: bool = f32(Q(2049.0)) != 2049.0 && f32(K(2049.0)) != 2049.0; // whether both types are f16, which rounds 2049 to 2048
const_assert SIZE % LANES == 0 && (LANES == 4 || LANES == 8 || LANES == 16) && 4 % ROWS == 0;

/// params.scale_before, which is 1 with two f16: their products are far from overflow. A constant 1 lets compilers keep the f16 as they are.
fn scale_before() -> f32 {
  return select(params.scale_before, 1.0, ARE_HALVES);
}

/// Sums the lanes' parts of all rows; a lane gets row lane % ROWS.
fn lane_sum(parts: vec4f, lane: u32) -> f32 {
  let ordered = vec4f(parts[0], parts[1 % ROWS], parts[2 % ROWS], parts[3 % ROWS]);
  let is_odd = (lane & 1) != 0;
  let pair = select(ordered.xz, ordered.yw, is_odd) + quadSwapX(select(ordered.yw, ordered.xz, is_odd));
  let is_below = (lane & 2) != 0;
  var sum = select(pair.x, pair.y, is_below) + quadSwapY(select(pair.y, pair.x, is_below));
  if (LANES > 4) {
    sum += subgroupShuffleXor(sum, 4);
  }
  if (LANES > 8) {
    sum += subgroupShuffleXor(sum, 8);
  }
  return sum;
}

/// What the lanes of a quad have of their rows: the r-th is row r's.
fn of_all_rows(value: f32) -> vec4f {
  return vec4f(quadBroadcast(value, 0), quadBroadcast(value, 1), quadBroadcast(value, 2), quadBroadcast(value, 3));
}
