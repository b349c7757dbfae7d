enable subgroups;
// flash_backward_dq_quad: what flash_backward_dq computes, for GPUs with subgroups: no workgroup memory, no barriers, as in flash_forward_quad.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq  [B,H,N,D]
//
// LANES neighbours, one quad or several, share ROWS queries of one head and split the head's elements between them: of each 4 · LANES a lane
// holds 4, in registers, of q, of gradient and of dq. A step takes one key: each lane's parts of q·k and of dO·v; swaps that sum them so that each
// lane has both of one row, row lane % ROWS, and makes its dA; broadcasts of dA to the quad; dA · k for the lane's elements.
// Nothing depends on how wide a subgroup is.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: excluded, grid_quad, dropout, dot, softcap_gradient, mask_seen, backward, backward_row, quad, quad_gradient.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Scores = f32; // what softcapped takes at once
alias Q_UNIT = Q; // with VEC4 vec4<Q>: what the bindings are arrays of
alias K_UNIT = K;
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 2; // queries that they share: 1, 2 or 4
const TILE_N: u32 = (SIZE / LANES) * ROWS; // queries a workgroup

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> gradient: array<Q_UNIT>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dq: array<Q_UNIT>;
@group(0) @binding(7) var<uniform> params: Params;

fn store_dq(row: u32, d: u32, value: vec4f) { for (var i = 0u; i < 4 && d + i < params.d; i++) { dq[row + d + i] = Q(value[i]); } }

/// dA of query n and key m, from their q·k and dO·v; exactly 0 where the query does not see the key.
fn score_gradient(dot: f32, product: f32, place: Place, n: u32, m: u32, row: vec2f, factor: f32) -> f32 {
  let position = i32(n) + place.offset;
  let is_seen = n < params.n && m < place.length && i32(m) <= position + params.right && i32(m) >= position - params.left;
  var s = dot * params.scale_after;
  var derivative = 1.0; // of the softcap
  if (params.softcap > 0.0) {
    let capped = softcapped(s);
    s = capped.s;
    derivative = capped.derivative;
  }
  s -= place.slope * f32(abs(position - i32(m)));
  if (params.mask_kind != 0) {
    let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
    s = masked_if_seen(s, is_seen, mask_row + m * params.mask_m);
  }
  let is_excluded = bitcast<u32>(s) >= EXCLUDES && bitcast<u32>(s) <= MINUS_INFINITY;
  let weight = select(0.0, exp(s - row.x), is_seen && !is_excluded);
  return select(0.0, weight * (factor * product - row.y) * derivative, weight != 0.0);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_place(workgroup, counts);
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
  let lane = index % LANES;
  let lanes_n = first_n + index / LANES * ROWS; // the first of its group's queries
  let own_n = lanes_n + lane % ROWS; // the one whose dA this lane makes
  let place = place_of(b, h);
  let key_head = h * params.key_heads / params.heads;
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;
  var k_row = params.k_offset + b * params.k_b + key_head * params.k_h;
  var v_row = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The keys that some query of the workgroup sees, and among them those that every one sees, with scores that nothing changes.
  let first_position = i32(first_n) + place.offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + place.offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(place.length)));
  let end = u32(clamp(last_position + params.right + 1, 0, i32(place.length)));
  let is_plain = params.mask_kind == 0 && params.softcap == 0.0 && place.slope == 0.0 && !DROPOUT;
  let whole_begin = last_position - params.left;
  let whole_end = first_position + params.right;

  var queries: array<vec4f, ROWS * D_VECS>; // [ROWS][D_VECS]
  var gradients: array<vec4f, ROWS * DV_VECS>; // [ROWS][DV_VECS]
  var sums: array<vec4f, ROWS * D_VECS>; // dq / scale: [ROWS][D_VECS]
  for (var r = 0u; r < ROWS; r++) {
    let n = min(lanes_n + r, params.n - 1); // rows past the last are computed, and not stored
    for (var i = 0u; i < D_VECS; i++) {
      let d = 4 * (LANES * i + lane);
      queries[r * D_VECS + i] = inside(load_q(q_base + n * params.q_n, d), d, params.d) * scale_before();
    }
    for (var i = 0u; i < DV_VECS; i++) {
      let e = 4 * (LANES * i + lane);
      gradients[r * DV_VECS + i] = inside(load_gradient(gradient_base + n * params.gradient_n, e), e, params.dv);
    }
  }
  let row = row_of(place.head, own_n);
  var words = vec4u(); // dropout's random words of keys 4 · words_of to 4 · words_of + 3
  var words_of = 0xffffffffu;

  k_row += begin * params.k_m;
  v_row += begin * params.v_m;
  for (var m = begin; m < end; m++) {
    var key: array<vec4f, D_VECS>;
    var dots = vec4f();
    for (var i = 0u; i < D_VECS; i++) {
      key[i] = load_k(k_row, 4 * (LANES * i + lane));
      for (var r = 0u; r < ROWS; r++) {
        dots[r] = add_dot(dots[r], queries[r * D_VECS + i], key[i]);
      }
    }
    var products = vec4f();
    for (var i = 0u; i < DV_VECS; i++) {
      let value = load_v(v_row, 4 * (LANES * i + lane));
      for (var r = 0u; r < ROWS; r++) {
        products[r] = add_dot(products[r], gradients[r * DV_VECS + i], value);
      }
    }
    let dot = own_sum(dots, lane);
    let product = own_sum(products, lane);
    let is_whole = is_plain && i32(m) >= whole_begin && i32(m) <= whole_end;
    var own = 0.0;
    if (is_whole) {
      let s = dot * params.scale_after;
      own = select(exp(s - row.x) * (product - row.y), 0.0, s <= EXCLUDED);
    } else {
      var factor = 1.0; // dropout's
      if (DROPOUT) {
        if (words_of != m / 4) {
          words = philox(vec4u(m / 4, own_n, place.head, 0));
          words_of = m / 4;
        }
        factor = select(params.keep_factor, 0.0, words[m % 4] < params.drop_below);
      }
      own = score_gradient(dot, product, place, own_n, m, row, factor);
    }
    let weights = all_rows(own);
    for (var r = 0u; r < ROWS; r++) {
      for (var i = 0u; i < D_VECS; i++) {
        sums[r * D_VECS + i] = add_weighted(sums[r * D_VECS + i], weights[r], key[i]);
      }
    }
    k_row += params.k_m;
    v_row += params.v_m;
  }

  let base = params.dq_offset + b * params.dq_b + h * params.dq_h;
  for (var r = 0u; r < ROWS; r++) {
    for (var i = 0u; i < D_VECS; i++) {
      if (lanes_n + r < params.n) {
        store_dq(base + (lanes_n + r) * params.dq_n, 4 * (LANES * i + lane), sums[r * D_VECS + i] * params.scale_after * params.scale_before);
      }
    }
  }
}
