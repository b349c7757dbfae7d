enable subgroups;
// flash_backward_dq_quad: what flash_backward_dq computes, for GPUs with subgroups: no workgroup memory, no barriers, as in flash_forward_quad.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq  [B,H,N,D]
//
// LANES neighbours, one quad or several, share ROWS queries of one head. They split the head's elements: of each 4 · LANES elements a lane holds 4, in
// registers, of q, of gradient and of dq. A step takes one key:
//   1. Each lane makes its part of q·k and of dO·v for all rows.
//   2. Quad swaps sum the parts. Each lane then has both products of one row, row lane % ROWS, and makes the dA of this row.
//   3. Broadcasts give the dA of all rows to every lane of the quad, and each lane adds dA · k for its elements.
// Nothing depends on how wide a subgroup is.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: backward, grid_quad, backward_head, head, band, dropout, dot, quad, quad_gradient.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Scores = f32; // the type of softcapped's argument: f32 or vec4f
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 2; // queries that they share: 1, 2 or 4
const TILE_N: u32 = (SIZE / LANES) * ROWS; // queries a workgroup

@group(0) @binding(6) var<storage, read_write> dq: array<Q_UNIT>;
@group(0) @binding(7) var<uniform> params: Params;

fn store_dq(row: u32, d: u32, value: vec4f) { for (var i = 0u; i < 4 && d + i < params.d; i++) { dq[row + d + i] = Q(value[i]); } }

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_position(workgroup, counts);
  let head = head_at(group.y);
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries begin first: causal queries at the end see most keys
  let lane = index % LANES;
  let lanes_n = first_n + index / LANES * ROWS; // the first of its group's queries
  let lane_n = lanes_n + lane % ROWS; // the one whose dA this lane makes
  let q_at = q_base(head);
  let gradient_at = gradient_base(head);

  // With nothing but the band to change scores, the keys that every query sees take the short way.
  let band = band_of(head, first_n, TILE_N);
  let is_plain = params.mask_kind == 0 && params.softcap == 0.0 && head.slope == 0.0 && !DROPOUT;
  var k_row = k_base(head) + band.begin * params.k_m;
  var v_row = v_base(head) + band.begin * params.v_m;

  var queries: array<vec4f, ROWS * D_VECS>; // [ROWS][D_VECS]
  var gradients: array<vec4f, ROWS * DV_VECS>; // [ROWS][DV_VECS]
  var sums: array<vec4f, ROWS * D_VECS>; // dq / scale: [ROWS][D_VECS]
  for (var r = 0u; r < ROWS; r++) {
    let n = min(lanes_n + r, params.n - 1); // rows past the last are computed, and not stored
    for (var i = 0u; i < D_VECS; i++) {
      let d = 4 * (LANES * i + lane);
      queries[r * D_VECS + i] = held(load_q(q_at + n * params.q_n, d), d, params.d) * scale_before();
    }
    for (var i = 0u; i < DV_VECS; i++) {
      let e = 4 * (LANES * i + lane);
      gradients[r * DV_VECS + i] = held(load_gradient(gradient_at + n * params.gradient_n, e), e, params.dv);
    }
  }
  let row = row_of(head, lane_n);
  var words = vec4u(); // dropout's random words of keys 4 · words_of to 4 · words_of + 3
  var words_of = 0xffffffffu;

  for (var m = band.begin; m < band.end; m++) {
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
    let dot = lane_sum(dots, lane);
    let product = lane_sum(products, lane);
    var lane_weights = Weights();
    if (is_plain && m >= band.whole_begin && m < band.whole_end) {
      lane_weights = plain_weights_of(dot, product, row);
    } else {
      var factor = 1.0; // dropout's
      if (DROPOUT) {
        if (words_of != m / 4) {
          words = philox(vec4u(m / 4, lane_n, head.index, 0));
          words_of = m / 4;
        }
        factor = select(params.keep_factor, 0.0, words[m % 4] < params.drop_below);
      }
      lane_weights = weights_of(dot, product, head, lane_n, m, row, factor);
    }
    let weights = of_all_rows(lane_weights.gradient);
    for (var r = 0u; r < ROWS; r++) {
      for (var i = 0u; i < D_VECS; i++) {
        sums[r * D_VECS + i] = add_weighted(sums[r * D_VECS + i], weights[r], key[i]);
      }
    }
    k_row += params.k_m;
    v_row += params.v_m;
  }

  let base = params.dq_offset + head.b * params.dq_b + head.h * params.dq_h;
  for (var r = 0u; r < ROWS; r++) {
    for (var i = 0u; i < D_VECS; i++) {
      if (lanes_n + r < params.n) {
        store_dq(base + (lanes_n + r) * params.dq_n, 4 * (LANES * i + lane), sums[r * D_VECS + i] * params.scale_after * params.scale_before);
      }
    }
  }
}
