// enable
// flash_backward_dq: dq = scale · dA k, the gradient of q, in one pass over the keys: no N×M in memory.
// With t the scores after the softcap, s = t + ALiBi + mask, P the weights, made again from s and lse, R what dropout multiplies P by, dO the gradient of out:
//
//     P = exp(s − lse)      dS = P ∘ (R ∘ (dO vᵀ) − delta)      dA = dS · (1 − (t / cap)²) with a softcap, else dS
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq   [B,H,N,D]
//
// A workgroup computes BLOCKS · TILE_M elements of dq for TILE_N queries of one head. It walks over the keys in tiles of TILE_M. An invocation
// holds blocks of 4 queries × 4 keys of q kᵀ and dO vᵀ, and BLOCKS blocks of 4 queries × 4 elements of dq. For each tile: both products, dA in
// workgroup memory, dA · k. Several workgroups share a longer head, and each of them makes dA.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: backward, grid, backward_head, head, band, tile_products, tile_gradients, weighted.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Scores = vec4f; // the type of softcapped's argument: f32 or vec4f
const TILE_N: u32 = 32; // queries a workgroup
const TILE_M: u32 = 32; // keys a tile
const KEYS: u32 = 16; // keys whose elements of k are in workgroup memory at a time
const BLOCKS: u32 = 2; // blocks of TILE_M elements of dq a workgroup, 1 to 4
const TILE_VECS: u32 = BLOCKS * BLOCKS_M; // vec4 of dq a workgroup

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0 && TILE_M % KEYS == 0;
const_assert KEYS * TILE_VECS <= STEP * (BLOCKS_N + BLOCKS_M) && BLOCKS <= 4;

@group(0) @binding(6) var<storage, read_write> dq: array<Q>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, STEP * (BLOCKS_N + BLOCKS_M)>; // q or gradient: [STEP][BLOCKS_N], k or v: [STEP][BLOCKS_M]; then k: [KEYS][TILE_VECS]
var<workgroup> w_tile: array<vec4f, TILE_M * BLOCKS_N>; // dA, [TILE_M][BLOCKS_N]

fn store(base: u32, first_n: u32, first_d: u32, sums: mat4x4f) {
  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      if (first_n + i < params.n && first_d + j < params.d) {
        dq[base + (first_n + i) * params.dq_n + first_d + j] = Q(sums[i][j] * params.scale_after * params.scale_before);
      }
    }
  }
}

@compute @workgroup_size(BLOCKS_M, BLOCKS_N)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let head = head_at(group.y);
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries begin first: causal queries at the end see most keys
  let slice = group.z * 4 * TILE_VECS; // the first element of this workgroup's share of a row of dq
  let band = band_of(head, first_n, TILE_N);
  let k_at = k_base(head);

  let lane_n = first_n + 4 * local.y; // the first of this invocation's 4 queries
  var sums0 = mat4x4f(); // [4 queries][4 elements] of dq / scale
  var sums1 = mat4x4f();
  var sums2 = mat4x4f();
  var sums3 = mat4x4f();

  for (var first_m = band.begin / TILE_M * TILE_M; first_m < band.end; first_m += TILE_M) {
    var s = tile_scores(head, first_n, first_m, local.y, local.x, lane); // [4 queries][4 keys]
    var g = tile_value_products(head, first_n, first_m, local.y, local.x, lane);
    let lane_m = first_m + 4 * local.x;
    for (var i = 0u; i < 4; i++) { // each query in turn is the first; its dA is put into g
      let weights = weights_of(s[0], g[0], head, lane_n + i, lane_m);
      s = mat4x4f(s[1], s[2], s[3], s[0]);
      g = mat4x4f(g[1], g[2], g[3], weights.da);
    }
    let columns = transpose(g);
    let weights_at = 4 * local.x * BLOCKS_N + local.y;
    w_tile[weights_at] = columns[0];
    w_tile[weights_at + BLOCKS_N] = columns[1];
    w_tile[weights_at + 2 * BLOCKS_N] = columns[2];
    w_tile[weights_at + 3 * BLOCKS_N] = columns[3];

    for (var step = 0u; step < TILE_M; step += KEYS) {
      for (var i = lane; i < KEYS * TILE_VECS; i += SIZE) {
        let m = first_m + step + i / TILE_VECS;
        let d = slice + 4 * (i % TILE_VECS);
        tile[i] =
          vec4f(load_k(k_at, m, d, head.length), load_k(k_at, m, d + 1, head.length), load_k(k_at, m, d + 2, head.length), load_k(k_at, m, d + 3, head.length));
      }
      workgroupBarrier();
      for (var m = 0u; m < KEYS; m++) {
        let w = w_tile[(step + m) * BLOCKS_N + local.y];
        let at = m * TILE_VECS + local.x;
        sums0 = add_weighted_products(sums0, w, tile[at]);
        if (BLOCKS > 1) {
          sums1 = add_weighted_products(sums1, w, tile[at + BLOCKS_M]);
        }
        if (BLOCKS > 2) {
          sums2 = add_weighted_products(sums2, w, tile[at + 2 * BLOCKS_M]);
        }
        if (BLOCKS > 3) {
          sums3 = add_weighted_products(sums3, w, tile[at + 3 * BLOCKS_M]);
        }
      }
      workgroupBarrier();
    }
  }

  let base = params.dq_offset + head.b * params.dq_b + head.h * params.dq_h;
  let lane_d = slice + 4 * local.x;
  store(base, lane_n, lane_d, sums0);
  if (BLOCKS > 1) {
    store(base, lane_n, lane_d + 4 * BLOCKS_M, sums1);
  }
  if (BLOCKS > 2) {
    store(base, lane_n, lane_d + 8 * BLOCKS_M, sums2);
  }
  if (BLOCKS > 3) {
    store(base, lane_n, lane_d + 12 * BLOCKS_M, sums3);
  }
}
