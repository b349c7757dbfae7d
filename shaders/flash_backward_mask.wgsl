// enable
// flash_backward_mask: dmask = dS, the gradient of an additive mask, summed over the axes that the mask repeats.
// With P the weights, made again from the scores and lse, R what dropout multiplies them by, dO the gradient of out:
//
//     P = exp(s − lse)      dS = P ∘ (R ∘ (dO vᵀ) − delta)
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dmask of the mask's own shape: each axis as long as the problem's, or 1
//
// A workgroup computes the elements of dmask that TILE_N queries × TILE_M keys of the mask are made of, or of one query, or of one key, where the
// mask repeats those. It walks over everything that reads them, batch elements, heads, queries and keys in tiles, and adds up dS; an invocation
// holds a block of 4 queries × 4 keys. At the end the blocks' sums are added up along a repeated axis.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward_options.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: excluded, grid, dropout, softcap, backward, backward_row, block, load, gradient_tile, mask_seen.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k and v
alias Scores = vec4f; // what softcapped takes at once
const TILE_N: u32 = 32; // queries a tile
const TILE_M: u32 = 32; // keys a tile

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0;

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> v: array<K>;
@group(0) @binding(3) var<storage, read> gradient: array<Q>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dmask: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, STEP * (ROWS_N + ROWS_M)>; // q or gradient: [STEP][ROWS_N], k or v: [STEP][ROWS_M]
var<workgroup> totals: array<f32, TILE_N * TILE_M>; // [TILE_N][TILE_M]

/// dS of query n for 4 keys from first_m on, from its parts of q kᵀ and of dO vᵀ; exactly 0 where it sees none.
fn score_gradient(dots: vec4f, products: vec4f, place: Place, n: u32, first_m: u32, row: vec2f) -> vec4f {
  let position = i32(n) + place.offset;
  let m = vec4u(first_m) + vec4u(0, 1, 2, 3);
  let at = vec4i(m);
  let is_seen = vec4<bool>(n < params.n) & (m < vec4u(place.length)) &
    (at <= vec4i(position + params.right)) & (at >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  if (params.softcap > 0.0) {
    s = softcapped(s);
  }
  s -= place.slope * vec4f(abs(vec4i(position) - at));
  let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
  var visible = is_seen;
  for (var j = 0u; j < 4; j++) { // each score in turn is the first
    s = vec4f(s.yzw, masked_if_seen(s.x, visible.x, mask_row + (first_m + j) * params.mask_m));
    visible = visible.yzwx;
  }
  let bits = bitcast<vec4u>(s);
  let is_excluded = (bits >= vec4u(EXCLUDES)) & (bits <= vec4u(MINUS_INFINITY));
  let weights = select(vec4f(), exp(s - row.x), is_seen & !is_excluded);
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    factors = select(vec4f(params.keep_factor), vec4f(), philox(vec4u(first_m / 4, n, place.head, 0)) < vec4u(params.drop_below));
  }
  return select(vec4f(), weights * (factors * products - row.y), weights != vec4f());
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
  // What the mask does not repeat is this workgroup's own; what it repeats is walked over.
  let mask_heads = select(params.heads, 1, params.repeats_h != 0);
  let mask_b = group.z / mask_heads;
  let mask_h = group.z % mask_heads;
  let own_b = vec2u(select(mask_b, 0, params.repeats_b != 0), select(mask_b + 1, params.batch, params.repeats_b != 0)); // from, to
  let own_h = vec2u(select(mask_h, 0, params.repeats_h != 0), select(mask_h + 1, params.heads, params.repeats_h != 0));
  let tile_n = group.y * TILE_N;
  let tile_m = group.x * TILE_M;
  let end_n = select(tile_n + 1, params.n, params.repeats_n != 0);
  let end_m = select(tile_m + 1, params.m, params.repeats_m != 0);

  var sums = mat4x4f(); // [4 queries][4 keys]
  for (var b = own_b.x; b < own_b.y; b++) {
    for (var h = own_h.x; h < own_h.y; h++) {
      let place = place_of(b, h);
      let key_head = h * params.key_heads / params.heads;
      let q_base = params.q_offset + b * params.q_b + h * params.q_h;
      let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
      let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;
      let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;
      for (var first_n = tile_n; first_n < end_n; first_n += TILE_N) {
        // The keys that some query of the tile sees.
        let first_position = i32(first_n) + place.offset;
        let last_position = i32(min(first_n + TILE_N, params.n) - 1) + place.offset;
        let begin = u32(clamp(first_position - params.left, 0, i32(place.length))) / TILE_M * TILE_M;
        let end = u32(clamp(last_position + params.right + 1, 0, i32(place.length)));
        for (var first_m = max(begin, tile_m); first_m < min(end, end_m); first_m += TILE_M) {
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

          let own_n = first_n + 4 * local.y;
          let own_m = first_m + 4 * local.x;
          for (var i = 0u; i < 4; i++) { // each query in turn is the first; its dS takes g's place
            let gradients = score_gradient(s[0], g[0], place, own_n + i, own_m, row_of(place.head, own_n + i));
            s = mat4x4f(s[1], s[2], s[3], s[0]);
            g = mat4x4f(g[1], g[2], g[3], gradients);
          }
          sums += g;
        }
      }
    }
  }

  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      totals[(4 * local.y + i) * TILE_M + 4 * local.x + j] = sums[i][j];
    }
  }
  workgroupBarrier();
  // An invocation adds up what one element is made of: itself, its column, its row, or everything.
  let rows_n = select(1u, TILE_N, params.repeats_n != 0);
  let cols_m = select(1u, TILE_M, params.repeats_m != 0);
  for (var i = lane; i < TILE_N * TILE_M; i += SIZE) {
    let row = i / TILE_M;
    let col = i % TILE_M;
    let n = tile_n + row;
    let m = tile_m + col;
    let is_own = (row == 0 || params.repeats_n == 0) && (col == 0 || params.repeats_m == 0);
    if (is_own && (n < params.n || params.repeats_n != 0) && (m < params.m || params.repeats_m != 0)) { // a row that is repeated is there without queries too
      var total = 0.0;
      for (var y = row; y < row + rows_n; y++) {
        for (var x = col; x < col + cols_m; x++) {
          total += totals[y * TILE_M + x];
        }
      }
      dmask[params.dmask_offset + mask_b * params.dmask_b + mask_h * params.dmask_h + n * params.dmask_n + m * params.dmask_m] = total;
    }
  }
}
