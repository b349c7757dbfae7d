// tile_products: products of queries and keys that a workgroup keeps in its memory, 4 × 4 of them an invocation.
// A kernel's `tile` begins with STEP · (BLOCKS_N + BLOCKS_M) vec4: elements of the queries, [STEP][BLOCKS_N], then of the keys, [STEP][BLOCKS_M].
// Parts: block.

const STEP: u32 = 16; // elements of a head that are in workgroup memory at a time
const BLOCKS_N: u32 = TILE_N / 4; // blocks of 4 queries
const BLOCKS_M: u32 = TILE_M / 4; // blocks of 4 keys
const SIZE: u32 = BLOCKS_N * BLOCKS_M;

/// Element d of query n, 0 past the last of either.
fn load_q(base: u32, n: u32, d: u32) -> f32 {
  let element = q[base + min(n, params.n - 1) * params.q_n + min(d, params.d - 1)];
  return select(0.0, f32(element), (n < params.n) & (d < params.d));
}

fn load_k(base: u32, m: u32, d: u32, length: u32) -> f32 {
  let element = k[base + min(m, length - 1) * params.k_m + min(d, params.d - 1)];
  return select(0.0, f32(element), (m < length) & (d < params.d));
}

fn load_v(base: u32, m: u32, e: u32, length: u32) -> f32 {
  let element = v[base + min(m, length - 1) * params.v_m + min(e, params.dv - 1)];
  return select(0.0, f32(element), (m < length) & (e < params.dv));
}

/// Adds the products of what the tile holds to a block of 4 queries × 4 keys.
fn add_tile(sums: mat4x4f, block_n: u32, block_m: u32) -> mat4x4f {
  workgroupBarrier(); // the tile is written
  var s = sums;
  for (var d = 0u; d < STEP; d++) {
    s = add_products(s, tile[d * BLOCKS_N + block_n], tile[STEP * BLOCKS_N + d * BLOCKS_M + block_m]);
  }
  workgroupBarrier(); // the tile is no longer read
  return s;
}

/// scale_before · q kᵀ of a block of 4 queries × 4 keys, in tiles that begin at first_n and first_m.
fn tile_scores(head: Head, first_n: u32, first_m: u32, block_n: u32, block_m: u32, lane: u32) -> mat4x4f {
  let q_at = q_base(head);
  let k_at = k_base(head);
  var s = mat4x4f(); // initialised by hand: without, a variable kept its value from one turn of a loop to the next (Chrome 143, SwiftShader, 24 Nov 2026)
  for (var first_d = 0u; first_d < params.d; first_d += STEP) {
    for (var i = lane; i < STEP * BLOCKS_N; i += SIZE) {
      let d = first_d + i % STEP;
      let n = first_n + 4 * (i / STEP);
      let four = vec4f(load_q(q_at, n, d), load_q(q_at, n + 1, d), load_q(q_at, n + 2, d), load_q(q_at, n + 3, d));
      tile[(i % STEP) * BLOCKS_N + i / STEP] = four * params.scale_before;
    }
    for (var i = lane; i < STEP * BLOCKS_M; i += SIZE) {
      let d = first_d + i % STEP;
      let m = first_m + 4 * (i / STEP);
      tile[STEP * BLOCKS_N + (i % STEP) * BLOCKS_M + i / STEP] = vec4f(
        load_k(k_at, m, d, head.length), load_k(k_at, m + 1, d, head.length), load_k(k_at, m + 2, d, head.length), load_k(k_at, m + 3, d, head.length));
    }
    s = add_tile(s, block_n, block_m);
  }
  return s;
}
