enable subgroups;
// flash_backward_dq_row: what flash_backward_dq computes, for devices that run on the CPU: whole rows in one invocation, as in flash_forward_row.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq  [B,H,N,D]
//
// An invocation holds ROWS queries, their rows of gradient and of dq. Four neighbours, a quad, take four keys a step: each invocation loads one key with
// its value, and gets the other three by quad swaps. The x-th key of an invocation's step is first_m + (lane ^ x). A step makes q kᵀ and dO vᵀ, from
// them dA, and adds dA · k to dq. Loops over hot arrays are written out, and loads are in plain loops: flash_forward_row says why.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: backward, grid, backward_head, head, band, dropout, vec4, quad_step, row_gradient, dot.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Scores = vec4f; // the type of softcapped's argument: f32 or vec4f
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 4; // queries an invocation: 1, 2 or 4
const TILE_N: u32 = SIZE * ROWS; // queries a workgroup

@group(0) @binding(6) var<storage, read_write> dq: array<Q_UNIT>;
@group(0) @binding(7) var<uniform> params: Params;

fn store_dq(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.d) { dq[row + 4 * vec + c] = Q(value[c]); } } }

/// dA of query n for the four keys of a step, from q kᵀ and dO vᵀ.
fn score_gradient(dots: vec4f, products: vec4f, head: Head, n: u32, first_m: u32, lane: u32, row: vec2f) -> vec4f {
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    factors = dropout_factors(shuffled_words(philox(vec4u(first_m / 4, n, head.index, 0)), lane));
  }
  return weights_of(dots, products, head, vec4u(n), shuffled_from(first_m, lane), vec4f(row.x), vec4f(row.y), factors).gradient;
}

/// Adds dA · k to every row of dq.
fn add_keys(sums: ptr<function, Tile>, weights: ptr<function, Rows>, key: ptr<function, Vector>) {
  for (var vec = 0u; vec < VECS; vec++) { add_keys_vec(sums, weights, shuffle((*key)[vec]), vec); } //! unroll
}

fn add_keys_vec(sums: ptr<function, Tile>, weights: ptr<function, Rows>, keys: Four, vec: u32) {
  for (var r = 0u; r < ROWS; r++) { (*sums)[r * VECS + vec] = add_values((*sums)[r * VECS + vec], (*weights)[r], keys); } //! unroll
}

/// A query's products with four keys, one by one.
fn scores_of(query: u32, keys: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let four = held(load_q(query, i), i, params.d) * params.scale_before;
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], four, load_k(keys[x], i));
    }
  }
  return dots;
}

/// The same of its gradient and four values.
fn products_of(lane_gradient: u32, values: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < dv_vecs(); i++) {
    let four = held(load_gradient(lane_gradient, i), i, params.dv);
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], four, load_v(values[x], i));
    }
  }
  return dots;
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let head = head_at(group.y);
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries begin first: causal queries at the end see most keys
  let lane_n = first_n + index * ROWS; // the first of this invocation's queries
  let lane = index % 4;
  let q_at = q_base(head);
  let k_at = k_base(head);
  let v_at = v_base(head);
  let gradient_at = gradient_base(head);
  let last = head.length - 1; // the last key
  let band = band_of(head, first_n, TILE_N); // what the workgroup's queries see
  let begin = band.begin / 4 * 4;

  var queries: Tile;
  var gradients: ValueTile;
  var sums: Tile; // dq / scale
  var lane_rows: array<vec2f, ROWS>; // lse and delta
  for (var r = 0u; r < ROWS; r++) {
    let n = min(lane_n + r, params.n - 1); // the row of a query that does not exist is never stored
    lane_rows[r] = row_of(head, n);
    for (var i = 0u; i < d_vecs(); i++) {
      queries[r * VECS + i] = held(load_q((q_at + n * params.q_n) / UNIT, i), i, params.d) * params.scale_before;
    }
    for (var i = 0u; i < dv_vecs(); i++) {
      gradients[r * V_VECS + i] = held(load_gradient((gradient_at + n * params.gradient_n) / UNIT, i), i, params.dv);
    }
  }

  var all_finite = true; // no step so far was taken as zeros. Where one was, the second loop adds the step, key by key
  for (var first_m = begin; first_m < band.end; first_m += 4) {
    let m = min(first_m + lane, last); // in place of a key that does not exist the last one is loaded, with weight 0
    let key_row = (k_at + m * params.k_m) / UNIT;
    var key: Vector;
    var not_finite_bits = 0u;
    for (var i = 0u; i < d_vecs(); i++) {
      let loaded = load_k(key_row, i);
      key[i] = loaded;
      if (SKIP_ZEROS) {
        not_finite_bits = not_finite_bits | not_finite(loaded);
      }
    }
    let value_row = (v_at + m * params.v_m) / UNIT;
    var value: ValueVector;
    for (var i = 0u; i < dv_vecs(); i++) {
      value[i] = load_v(value_row, i);
    }
    var s = Rows(); // q·k against the four keys
    var g = Rows(); // gradient·v
    add_scores(&s, &queries, &key);
    add_products(&g, &gradients, &value);
    if (IN_LINES) {
      for (var r = 0u; r < ROWS; r++) { s[r] = score_gradient(s[r], g[r], head, lane_n + r, first_m, lane, lane_rows[r]); } //! unroll
    } else {
      var gradients_of_rows = s;
      let products = g;
      for (var r = 0u; r < ROWS; r++) {
        gradients_of_rows[r] = score_gradient(gradients_of_rows[r], products[r], head, lane_n + r, first_m, lane, lane_rows[r]);
      }
      s = gradients_of_rows;
    }
    // Infinity times a weight of 0 is not 0. Where a key is not finite, the first loop takes the step as zeros.
    // A loop without a turn costs a device on the CPU less than an if, whose body it runs masked.
    if (SKIP_ZEROS) {
      let is_finite = quad_or(not_finite_bits) == 0;
      all_finite = all_finite & is_finite;
      for (var i = select(0, d_vecs(), is_finite); i < d_vecs(); i++) {
        key[i] = vec4f();
      }
      for (var r = 0u; r < ROWS; r++) { s[r] = select(vec4f(), s[r], is_finite); } //! unroll
    }
    add_keys(&sums, &s, &key);
  }

  var complete = sums; // a copy: an array that is indexed with a variable anywhere stays in memory everywhere
  if (SKIP_ZEROS) {
    for (var first_m = select(begin, band.end, all_finite); first_m < band.end; first_m += 4) {
      let m = min(shuffled_from(first_m, lane), vec4u(last));
      let key_rows = (k_at + m * params.k_m) / UNIT;
      let vecs = (params.d + 3) / 4; // no const: see flash_forward_row
      var not_finite_bits = 0u;
      for (var i = 0u; i < 4 * vecs; i++) {
        not_finite_bits = not_finite_bits | not_finite(load_k(key_rows[i % 4], i / 4));
      }
      if (not_finite_bits != 0) {
        for (var r = 0u; r < ROWS; r++) {
          let n = min(lane_n + r, params.n - 1);
          let dots = scores_of((q_at + n * params.q_n) / UNIT, key_rows);
          let products = products_of((gradient_at + n * params.gradient_n) / UNIT, (v_at + m * params.v_m) / UNIT);
          let weights = score_gradient(dots, products, head, lane_n + r, first_m, lane, lane_rows[r]);
          for (var i = 0u; i < 4 * vecs; i++) {
            let vec = r * VECS + i / 4;
            complete[vec] = add_weighted(complete[vec], weights[i % 4], load_k(key_rows[i % 4], i / 4));
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS && lane_n + r < params.n; r++) {
    let row = (params.dq_offset + head.b * params.dq_b + head.h * params.dq_h + (lane_n + r) * params.dq_n) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      store_dq(row, i, complete[r * VECS + i] * params.scale_after * params.scale_before);
    }
  }
}
