// enable
// flash_backward_dkv: dk = scale · dAᵀ q and dv = (P ∘ R)ᵀ dO, the gradients of k and v, in one pass over the queries: no N×M in memory.
// With t the scores after the softcap, s = t + ALiBi + mask, P the weights, made again from s and lse, R what dropout multiplies P by, dO the gradient of out:
//
//     P = exp(s − lse)      dS = P ∘ (R ∘ (dO vᵀ) − delta)      dA = dS · (1 − (t / cap)²) with a softcap, else dS
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dk   [B,Hk,M,D]    dv [B,Hk,M,Dv]
//
// A workgroup computes BLOCKS · TILE_N elements of dk and as many of dv for TILE_M keys of one key head. It walks over the query heads that read the
// key head, and over their queries in tiles of TILE_N: the sums over heads need neither atomics nor a second pass. An invocation holds blocks of
// 4 queries × 4 keys of q kᵀ and dO vᵀ, and BLOCKS blocks of 4 keys × 4 elements each of dk and dv. For each tile: both products; P ∘ R in
// workgroup memory, its products with dO; dA in its place, its products with q. Heads longer than a workgroup's share are taken by several.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: backward, grid, backward_head, head, band_of_keys, tile_products, tile_gradients, weighted.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k, v, dk and dv
alias Scores = vec4f; // the type of softcapped's argument: f32 or vec4f
const TILE_N: u32 = 32; // queries a tile
const TILE_M: u32 = 32; // keys a workgroup
const QUERIES: u32 = 16; // queries whose elements of q or gradient are in workgroup memory at a time
const BLOCKS: u32 = 2; // blocks of TILE_N elements of dk and of dv a workgroup, 1 or 2
const TILE_VECS: u32 = BLOCKS * BLOCKS_N; // vec4 of dk, and of dv, a workgroup

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0 && TILE_N % QUERIES == 0;
const_assert QUERIES * TILE_VECS <= STEP * (BLOCKS_N + BLOCKS_M) && BLOCKS <= 2;

@group(0) @binding(6) var<storage, read_write> dk: array<K>;
@group(0) @binding(7) var<storage, read_write> dv: array<K>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, STEP * (BLOCKS_N + BLOCKS_M)>; // q or gradient: [STEP][BLOCKS_N], k or v: [STEP][BLOCKS_M]; then gradient or q: [QUERIES][TILE_VECS]
var<workgroup> w_tile: array<vec4f, TILE_N * BLOCKS_M>; // P ∘ R, then dA: [TILE_N][BLOCKS_M]

/// Elements of a key's row of dk or dv: 0 where the key does not exist, whatever the queries hold.
fn finished(sums: vec4f, m: u32, length: u32, factor: f32) -> vec4f {
  return select(vec4f(), sums * factor, m < length);
}

fn store_dk(base: u32, first_m: u32, first_d: u32, length: u32, sums: mat4x4f) {
  for (var i = 0u; i < 4; i++) {
    let values = finished(sums[i] * params.scale_after, first_m + i, length, params.scale_before);
    for (var j = 0u; j < 4; j++) {
      if (first_m + i < params.m && first_d + j < params.d) {
        dk[base + (first_m + i) * params.dk_m + first_d + j] = K(values[j]);
      }
    }
  }
}

fn store_dv(base: u32, first_m: u32, first_e: u32, length: u32, sums: mat4x4f) {
  for (var i = 0u; i < 4; i++) {
    let values = finished(sums[i], first_m + i, length, 1.0);
    for (var j = 0u; j < 4; j++) {
      if (first_m + i < params.m && first_e + j < params.dv) {
        dv[base + (first_m + i) * params.dv_m + first_e + j] = K(values[j]);
      }
    }
  }
}

@compute @workgroup_size(BLOCKS_N, BLOCKS_M)
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
  let b = group.y / params.key_heads;
  let key_head = group.y % params.key_heads;
  let first_m = group.x * TILE_M;
  let slice = group.z * 4 * TILE_VECS; // the first element of dk and of dv
  let sharing = params.heads / params.key_heads; // query heads that read this key head

  // Which queries see keys of the workgroup. The queries are the same in every head.
  let first = head_of(b, key_head * sharing);
  let length = first.length;
  let band = band_of_keys(first, first_m, TILE_M);

  let lane_m = first_m + 4 * local.y; // the first of this invocation's 4 keys
  var dk0 = mat4x4f(); // [4 keys][4 elements] of dk / scale
  var dk1 = mat4x4f();
  var dv0 = mat4x4f(); // [4 keys][4 elements]
  var dv1 = mat4x4f();

  for (var h = key_head * sharing; h < (key_head + 1) * sharing; h++) {
    let head = head_of(b, h);
    let q_at = q_base(head);
    let gradient_at = gradient_base(head);
    for (var first_n = band.begin / TILE_N * TILE_N; first_n < band.end; first_n += TILE_N) {
      var s = tile_scores(head, first_n, first_m, local.x, local.y, lane); // [4 queries][4 keys]
      var g = tile_value_products(head, first_n, first_m, local.x, local.y, lane);
      let lane_n = first_n + 4 * local.x;
      let at = 4 * local.x * BLOCKS_M + local.y;
      // Each query in turn is the first. Its P ∘ R is stored at once, and its dA is put into g: both together take too many registers.
      for (var i = 0u; i < 4; i++) {
        let w = weights_of(s[0], g[0], head, lane_n + i, lane_m);
        w_tile[at + i * BLOCKS_M] = w.kept;
        s = mat4x4f(s[1], s[2], s[3], s[0]);
        g = mat4x4f(g[1], g[2], g[3], w.da);
      }
      for (var step = 0u; step < TILE_N; step += QUERIES) {
        for (var i = lane; i < QUERIES * TILE_VECS; i += SIZE) {
          let n = first_n + step + i / TILE_VECS;
          let e = slice + 4 * (i % TILE_VECS);
          tile[i] = vec4f(
            load_gradient(gradient_at, n, e), load_gradient(gradient_at, n, e + 1),
            load_gradient(gradient_at, n, e + 2), load_gradient(gradient_at, n, e + 3));
        }
        workgroupBarrier();
        for (var n = 0u; n < QUERIES; n++) {
          let w = w_tile[(step + n) * BLOCKS_M + local.y];
          let value_at = n * TILE_VECS + local.x;
          dv0 = add_weighted_products(dv0, w, tile[value_at]);
          if (BLOCKS > 1) {
            dv1 = add_weighted_products(dv1, w, tile[value_at + BLOCKS_N]);
          }
        }
        workgroupBarrier();
      }

      w_tile[at] = g[0];
      w_tile[at + BLOCKS_M] = g[1];
      w_tile[at + 2 * BLOCKS_M] = g[2];
      w_tile[at + 3 * BLOCKS_M] = g[3];
      for (var step = 0u; step < TILE_N; step += QUERIES) {
        for (var i = lane; i < QUERIES * TILE_VECS; i += SIZE) {
          let n = first_n + step + i / TILE_VECS;
          let d = slice + 4 * (i % TILE_VECS);
          tile[i] = vec4f(load_q(q_at, n, d), load_q(q_at, n, d + 1), load_q(q_at, n, d + 2), load_q(q_at, n, d + 3));
        }
        workgroupBarrier();
        for (var n = 0u; n < QUERIES; n++) {
          let w = w_tile[(step + n) * BLOCKS_M + local.y];
          let value_at = n * TILE_VECS + local.x;
          dk0 = add_weighted_products(dk0, w, tile[value_at]);
          if (BLOCKS > 1) {
            dk1 = add_weighted_products(dk1, w, tile[value_at + BLOCKS_N]);
          }
        }
        workgroupBarrier();
      }
    }
  }

  let dk_base = params.dk_offset + b * params.dk_b + key_head * params.dk_h;
  let dv_base = params.dv_offset + b * params.dv_b + key_head * params.dv_h;
  let lane_e = slice + 4 * local.x;
  store_dk(dk_base, lane_m, lane_e, length, dk0);
  store_dv(dv_base, lane_m, lane_e, length, dv0);
  if (BLOCKS > 1) {
    store_dk(dk_base, lane_m, lane_e + 4 * BLOCKS_N, length, dk1);
    store_dv(dv_base, lane_m, lane_e + 4 * BLOCKS_N, length, dv1);
  }
}
