// gradient_tile: tiles of queries and keys in the baseline’s backward kernels.

const ROWS_N: u32 = TILE_N / 4; // blocks of 4 queries
const ROWS_M: u32 = TILE_M / 4; // blocks of 4 keys
const SIZE: u32 = ROWS_N * ROWS_M;

fn load_gradient(base: u32, n: u32, e: u32) -> f32 {
  let element = gradient[base + min(n, params.n - 1) * params.gradient_n + min(e, params.dv - 1)];
  return select(0.0, f32(element), (n < params.n) & (e < params.dv));
}
