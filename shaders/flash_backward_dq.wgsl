// enable
// flash_backward_dq: dq = scale · dA k, the gradient of q, in one pass over the keys: no N×M in memory.
// With P the weights, made again from the scores and lse, R what dropout multiplies them by, dO the gradient of out, and s before any mask:
//
//     P = exp(s − lse)      dS = P ∘ (R ∘ (dO vᵀ) − delta)      dA = dS · (1 − (s / cap)²) with a softcap, else dS
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq   [B,H,N,D]
//
// A workgroup computes BLOCKS · TILE_M elements of dq for TILE_N queries of one head. It walks over the keys in tiles of TILE_M. An invocation
// holds blocks of 4 queries × 4 keys of q kᵀ and dO vᵀ, and BLOCKS blocks of 4 queries × 4 elements of dq. For each tile: both products, dA in
// workgroup memory, dA · k. A head longer than a workgroup's share is taken by several, each of which makes dA again.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: excluded, grid, dropout, softcap_gradient, mask_seen, backward, backward_row, block, weighted, load, gradient_tile.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Scores = vec4f; // what softcapped takes at once
const TILE_N: u32 = 32; // queries a workgroup
const TILE_M: u32 = 32; // keys a tile
const KEYS: u32 = 16; // keys whose elements of k are in workgroup memory at a time
const BLOCKS: u32 = 2; // blocks of TILE_M elements of dq a workgroup, 1 to 4
const WIDTH: u32 = BLOCKS * ROWS_M; // vec4 of dq a workgroup

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0 && TILE_M % KEYS == 0;
const_assert KEYS * WIDTH <= STEP * (ROWS_N + ROWS_M) && BLOCKS <= 4;

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> v: array<K>;
@group(0) @binding(3) var<storage, read> gradient: array<Q>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dq: array<Q>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, STEP * (ROWS_N + ROWS_M)>; // q or gradient: [STEP][ROWS_N], k or v: [STEP][ROWS_M]; then k: [KEYS][WIDTH]
var<workgroup> w_tile: array<vec4f, TILE_M * ROWS_N>; // dA, [TILE_M][ROWS_N]

/// dA of query n for 4 keys from first_m on, from its parts of q kᵀ and of dO vᵀ; exactly 0 where it sees none.
fn score_gradient(dots: vec4f, products: vec4f, place: Place, n: u32, first_m: u32, row: vec2f) -> vec4f {
  let position = i32(n) + place.offset;
  let m = vec4u(first_m) + vec4u(0, 1, 2, 3);
  let at = vec4i(m);
  let is_seen = vec4<bool>(n < params.n) & (m < vec4u(place.length)) &
    (at <= vec4i(position + params.right)) & (at >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  var derivative = vec4f(1.0); // of the softcap
  if (params.softcap > 0.0) {
    let capped = softcapped(s);
    s = capped.s;
    derivative = capped.derivative;
  }
  s -= place.slope * vec4f(abs(vec4i(position) - at));
  if (params.mask_kind != 0) {
    let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
    var visible = is_seen;
    for (var j = 0u; j < 4; j++) { // each score in turn is the first
      s = vec4f(s.yzw, masked_if_seen(s.x, visible.x, mask_row + (first_m + j) * params.mask_m));
      visible = visible.yzwx;
    }
  }
  let bits = bitcast<vec4u>(s);
  let is_excluded = (bits >= vec4u(EXCLUDES)) & (bits <= vec4u(MINUS_INFINITY));
  let weights = select(vec4f(), exp(s - row.x), is_seen & !is_excluded);
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    factors = select(vec4f(params.keep_factor), vec4f(), philox(vec4u(first_m / 4, n, place.head, 0)) < vec4u(params.drop_below));
  }
  return select(vec4f(), weights * (factors * products - row.y) * derivative, weights != vec4f());
}

fn store(base: u32, first_n: u32, first_d: u32, sums: mat4x4f) {
  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      if (first_n + i < params.n && first_d + j < params.d) {
        dq[base + (first_n + i) * params.dq_n + first_d + j] = Q(sums[i][j] * params.scale_after * params.scale_before);
      }
    }
  }
}

@compute @workgroup_size(ROWS_M, ROWS_N)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = grid_place(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
  let slice = group.z * 4 * WIDTH; // the first element of dq
  let place = place_of(b, h);
  let key_head = h * params.key_heads / params.heads;
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;
  let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;

  // The keys that some query of the workgroup sees; tiles begin at multiples of TILE_M.
  let first_position = i32(first_n) + place.offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + place.offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(place.length))) / TILE_M * TILE_M;
  let end = u32(clamp(last_position + params.right + 1, 0, i32(place.length)));

  let own_n = first_n + 4 * local.y; // the first of this invocation's 4 queries
  var sums0 = mat4x4f(); // [4 queries][4 elements] of dq / scale
  var sums1 = mat4x4f();
  var sums2 = mat4x4f();
  var sums3 = mat4x4f();

  for (var first_m = begin; first_m < end; first_m += TILE_M) {
    var s = mat4x4f(); // q·k: [4 queries][4 keys]
    for (var first_d = 0u; first_d < params.d; first_d += STEP) {
      for (var i = lane; i < STEP * ROWS_N; i += SIZE) {
        let d = first_d + i % STEP;
        let n = first_n + 4 * (i / STEP);
        tile[(i % STEP) * ROWS_N + i / STEP] =
          vec4f(load_q(q_base, n, d), load_q(q_base, n + 1, d), load_q(q_base, n + 2, d), load_q(q_base, n + 3, d));
      }
      for (var i = lane; i < STEP * ROWS_M; i += SIZE) {
        let d = first_d + i % STEP;
        let m = first_m + 4 * (i / STEP);
        tile[STEP * ROWS_N + (i % STEP) * ROWS_M + i / STEP] = vec4f(
          load_k(k_base, m, d, place.length), load_k(k_base, m + 1, d, place.length),
          load_k(k_base, m + 2, d, place.length), load_k(k_base, m + 3, d, place.length));
      }
      workgroupBarrier();
      for (var d = 0u; d < STEP; d++) {
        s = add_products(s, tile[d * ROWS_N + local.y], tile[STEP * ROWS_N + d * ROWS_M + local.x]);
      }
      workgroupBarrier();
    }
    var g = mat4x4f(); // gradient·v: [4 queries][4 keys]
    for (var first_e = 0u; first_e < params.dv; first_e += STEP) {
      for (var i = lane; i < STEP * ROWS_N; i += SIZE) {
        let e = first_e + i % STEP;
        let n = first_n + 4 * (i / STEP);
        tile[(i % STEP) * ROWS_N + i / STEP] = vec4f(
          load_gradient(gradient_base, n, e), load_gradient(gradient_base, n + 1, e),
          load_gradient(gradient_base, n + 2, e), load_gradient(gradient_base, n + 3, e));
      }
      for (var i = lane; i < STEP * ROWS_M; i += SIZE) {
        let e = first_e + i % STEP;
        let m = first_m + 4 * (i / STEP);
        tile[STEP * ROWS_N + (i % STEP) * ROWS_M + i / STEP] = vec4f(
          load_v(v_base, m, e, place.length), load_v(v_base, m + 1, e, place.length),
          load_v(v_base, m + 2, e, place.length), load_v(v_base, m + 3, e, place.length));
      }
      workgroupBarrier();
      for (var e = 0u; e < STEP; e++) {
        g = add_products(g, tile[e * ROWS_N + local.y], tile[STEP * ROWS_N + e * ROWS_M + local.x]);
      }
      workgroupBarrier();
    }

    let own_m = first_m + 4 * local.x;
    for (var i = 0u; i < 4; i++) { // each query in turn is the first; its dA takes g's place
      let gradients = score_gradient(s[0], g[0], place, own_n + i, own_m, row_of(place.head, own_n + i));
      s = mat4x4f(s[1], s[2], s[3], s[0]);
      g = mat4x4f(g[1], g[2], g[3], gradients);
    }
    let columns = transpose(g);
    let weights_at = 4 * local.x * ROWS_N + local.y;
    w_tile[weights_at] = columns[0];
    w_tile[weights_at + ROWS_N] = columns[1];
    w_tile[weights_at + 2 * ROWS_N] = columns[2];
    w_tile[weights_at + 3 * ROWS_N] = columns[3];

    for (var step = 0u; step < TILE_M; step += KEYS) {
      for (var i = lane; i < KEYS * WIDTH; i += SIZE) {
        let m = first_m + step + i / WIDTH;
        let d = slice + 4 * (i % WIDTH);
        tile[i] = vec4f(
          load_k(k_base, m, d, place.length), load_k(k_base, m, d + 1, place.length),
          load_k(k_base, m, d + 2, place.length), load_k(k_base, m, d + 3, place.length));
      }
      workgroupBarrier();
      for (var m = 0u; m < KEYS; m++) {
        let w = w_tile[(step + m) * ROWS_N + local.y];
        let at = m * WIDTH + local.x;
        sums0 = add_weighted_products(sums0, w, tile[at]);
        if (BLOCKS > 1) {
          sums1 = add_weighted_products(sums1, w, tile[at + ROWS_M]);
        }
        if (BLOCKS > 2) {
          sums2 = add_weighted_products(sums2, w, tile[at + 2 * ROWS_M]);
        }
        if (BLOCKS > 3) {
          sums3 = add_weighted_products(sums3, w, tile[at + 3 * ROWS_M]);
        }
      }
      workgroupBarrier();
    }
  }

  let base = params.dq_offset + b * params.dq_b + h * params.dq_h;
  let own_d = slice + 4 * local.x;
  store(base, own_n, own_d, sums0);
  if (BLOCKS > 1) {
    store(base, own_n, own_d + 4 * ROWS_M, sums1);
  }
  if (BLOCKS > 2) {
    store(base, own_n, own_d + 8 * ROWS_M, sums2);
  }
  if (BLOCKS > 3) {
    store(base, own_n, own_d + 12 * ROWS_M, sums3);
  }
}
