// enable
// flash_backward_dkv: dk = scale · dAᵀ q and dv = (P ∘ R)ᵀ dO, the gradients of k and v, in one pass over the queries: no N×M in memory.
// With P the weights, made again from the scores and lse, R what dropout multiplies them by, dO the gradient of out, and s before any mask:
//
//     P = exp(s − lse)      dS = P ∘ (R ∘ (dO vᵀ) − delta)      dA = dS · (1 − (s / cap)²) with a softcap, else dS
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
// Parts: excluded, grid, dropout, softcap_gradient, mask_seen, backward, backward_row, block, weighted, gradient_tile.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k, v, dk and dv
alias Scores = vec4f; // what softcapped takes at once
const TILE_N: u32 = 32; // queries a tile
const TILE_M: u32 = 32; // keys a workgroup
const STEP: u32 = 16; // elements of a head that are in workgroup memory at a time
const QUERIES: u32 = 16; // queries whose elements of q or gradient are in workgroup memory at a time
const BLOCKS: u32 = 2; // blocks of TILE_N elements of dk and of dv a workgroup, 1 or 2
const WIDTH: u32 = BLOCKS * ROWS_N; // vec4 of dk, and of dv, a workgroup

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0 && TILE_N % QUERIES == 0;
const_assert QUERIES * WIDTH <= STEP * (ROWS_N + ROWS_M) && BLOCKS <= 2;

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> v: array<K>;
@group(0) @binding(3) var<storage, read> gradient: array<Q>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dk: array<K>;
@group(0) @binding(7) var<storage, read_write> dv: array<K>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, STEP * (ROWS_N + ROWS_M)>; // q or gradient: [STEP][ROWS_N], k or v: [STEP][ROWS_M]; then gradient or q: [QUERIES][WIDTH]
var<workgroup> w_tile: array<vec4f, TILE_N * ROWS_M>; // P ∘ R, then dA: [TILE_N][ROWS_M]

fn load_q(base: u32, n: u32, d: u32) -> f32 {
  let element = q[base + min(n, params.n - 1) * params.q_n + min(d, params.d - 1)];
  return select(0.0, f32(element), (n < params.n) & (d < params.d));
}

fn load_k(base: u32, m: u32, d: u32, length: u32) -> f32 {
  let element = k[base + min(m, length - 1) * params.k_m + min(d, params.d - 1)];
  return select(0.0, f32(element) * params.scale_before, (m < length) & (d < params.d));
}

fn load_v(base: u32, m: u32, e: u32, length: u32) -> f32 {
  let element = v[base + min(m, length - 1) * params.v_m + min(e, params.dv - 1)];
  return select(0.0, f32(element), (m < length) & (e < params.dv));
}

/// What dv and dk are made of, for one query and 4 keys.
struct Weights {
  kept: vec4f, // P ∘ R
  gradient: vec4f, // dA
}

/// P ∘ R and dA of query n for 4 keys from first_m on, from its parts of q kᵀ and of dO vᵀ; exactly 0 where it sees none.
fn weights_of(dots: vec4f, products: vec4f, place: Place, n: u32, first_m: u32, row: vec2f) -> Weights {
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
  return Weights(
    weights * factors, select(vec4f(), weights * (factors * products - row.y) * derivative, weights != vec4f()));
}

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

@compute @workgroup_size(ROWS_N, ROWS_M)
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
  let b = group.y / params.key_heads;
  let key_head = group.y % params.key_heads;
  let first_m = group.x * TILE_M;
  let slice = group.z * 4 * WIDTH; // the first element of dk and of dv
  let sharing = params.heads / params.key_heads; // query heads that read this key head
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The queries that see some key of the workgroup; tiles begin at multiples of TILE_N. They are the same in every head.
  let first_place = place_of(b, key_head * sharing);
  let length = first_place.length;
  let last_m = min(first_m + TILE_M, length) - 1; // not used where no key exists
  let begin = u32(clamp(i32(first_m) - first_place.offset - params.right, 0, i32(params.n))) / TILE_N * TILE_N;
  let seen = u32(clamp(i32(last_m) - first_place.offset + params.left + 1, 0, i32(params.n)));
  let end = select(0, seen, first_m < length);

  let own_m = first_m + 4 * local.y; // the first of this invocation's 4 keys
  var dk0 = mat4x4f(); // [4 keys][4 elements] of dk / scale
  var dk1 = mat4x4f();
  var dv0 = mat4x4f(); // [4 keys][4 elements]
  var dv1 = mat4x4f();

  for (var h = key_head * sharing; h < (key_head + 1) * sharing; h++) {
    let place = place_of(b, h);
    let q_base = params.q_offset + b * params.q_b + h * params.q_h;
    let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;
    for (var first_n = begin; first_n < end; first_n += TILE_N) {
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
          s = add_products(s, tile[d * ROWS_N + local.x], tile[STEP * ROWS_N + d * ROWS_M + local.y]);
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
          g = add_products(g, tile[e * ROWS_N + local.x], tile[STEP * ROWS_N + e * ROWS_M + local.y]);
        }
        workgroupBarrier();
      }

      let own_n = first_n + 4 * local.x;
      let at = 4 * local.x * ROWS_M + local.y;
      // Each query in turn is the first. Its P ∘ R is stored at once, and only dA kept, in g's place: together they are too many registers.
      for (var i = 0u; i < 4; i++) {
        let w = weights_of(s[0], g[0], place, own_n + i, own_m, row_of(place.head, own_n + i));
        w_tile[at + i * ROWS_M] = w.kept;
        s = mat4x4f(s[1], s[2], s[3], s[0]);
        g = mat4x4f(g[1], g[2], g[3], w.gradient);
      }
      for (var step = 0u; step < TILE_N; step += QUERIES) {
        for (var i = lane; i < QUERIES * WIDTH; i += SIZE) {
          let n = first_n + step + i / WIDTH;
          let e = slice + 4 * (i % WIDTH);
          tile[i] = vec4f(
            load_gradient(gradient_base, n, e), load_gradient(gradient_base, n, e + 1),
            load_gradient(gradient_base, n, e + 2), load_gradient(gradient_base, n, e + 3));
        }
        workgroupBarrier();
        for (var n = 0u; n < QUERIES; n++) {
          let w = w_tile[(step + n) * ROWS_M + local.y];
          let value_at = n * WIDTH + local.x;
          dv0 = add_weighted_products(dv0, w, tile[value_at]);
          if (BLOCKS > 1) {
            dv1 = add_weighted_products(dv1, w, tile[value_at + ROWS_N]);
          }
        }
        workgroupBarrier();
      }

      w_tile[at] = g[0];
      w_tile[at + ROWS_M] = g[1];
      w_tile[at + 2 * ROWS_M] = g[2];
      w_tile[at + 3 * ROWS_M] = g[3];
      for (var step = 0u; step < TILE_N; step += QUERIES) {
        for (var i = lane; i < QUERIES * WIDTH; i += SIZE) {
          let n = first_n + step + i / WIDTH;
          let d = slice + 4 * (i % WIDTH);
          tile[i] = vec4f(load_q(q_base, n, d), load_q(q_base, n, d + 1), load_q(q_base, n, d + 2), load_q(q_base, n, d + 3));
        }
        workgroupBarrier();
        for (var n = 0u; n < QUERIES; n++) {
          let w = w_tile[(step + n) * ROWS_M + local.y];
          let value_at = n * WIDTH + local.x;
          dk0 = add_weighted_products(dk0, w, tile[value_at]);
          if (BLOCKS > 1) {
            dk1 = add_weighted_products(dk1, w, tile[value_at + ROWS_N]);
          }
        }
        workgroupBarrier();
      }
    }
  }

  let dk_base = params.dk_offset + b * params.dk_b + key_head * params.dk_h;
  let dv_base = params.dv_offset + b * params.dv_b + key_head * params.dv_h;
  let own = slice + 4 * local.x;
  store_dk(dk_base, own_m, own, length, dk0);
  store_dv(dv_base, own_m, own, length, dv0);
  if (BLOCKS > 1) {
    store_dk(dk_base, own_m, own + 4 * ROWS_N, length, dk1);
    store_dv(dv_base, own_m, own + 4 * ROWS_N, length, dv1);
  }
}
