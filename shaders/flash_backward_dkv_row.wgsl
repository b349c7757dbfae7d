enable subgroups;
// flash_backward_dkv_row: what flash_backward_dkv computes, for devices that run on the CPU: whole rows in one invocation, as in flash_forward_row.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dk  [B,Hk,M,D]    dv [B,Hk,M,Dv]
//
// An invocation holds ROWS keys of one key head, their values, and their rows of dk and dv. It walks over the query heads that read the key head.
// Four neighbours, a quad, take four queries a step: each invocation loads one query with its row of gradient, and gets the other three by quad swaps.
// The x-th query of an invocation's step is first_n + (lane ^ x). A step makes q kᵀ and dO vᵀ, from them P ∘ R and dA, and adds their products with dO
// and q. Loops over hot arrays are written out, and loads are in plain loops: flash_forward_row says why.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: backward, grid, backward_head, head, band_of_keys, dropout, vec4, quad_step, row_gradient, dot.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k, v, dk and dv
alias Scores = vec4f; // the type of softcapped's argument: f32 or vec4f
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 4; // keys an invocation: 1, 2 or 4
const TILE_M: u32 = SIZE * ROWS; // keys a workgroup

@group(0) @binding(6) var<storage, read_write> dk: array<K_UNIT>;
@group(0) @binding(7) var<storage, read_write> dv: array<K_UNIT>;
@group(0) @binding(8) var<uniform> params: Params;

fn store_dk(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.d) { dk[row + 4 * vec + c] = K(value[c]); } } }
fn store_dv(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.dv) { dv[row + 4 * vec + c] = K(value[c]); } } }

/// P ∘ R and dA of key m for the four queries of a step, from q kᵀ and dO vᵀ.
fn key_weights(dots: vec4f, products: vec4f, head: Head, n: vec4u, m: u32, lse: vec4f, delta: vec4f) -> Weights {
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    for (var x = 0u; x < 4; x++) {
      factors[x] = dropout_factors(vec4u(philox(vec4u(m / 4, n[x], head.index, 0))[m % 4])).x;
    }
  }
  return weights_of(dots, products, head, n, vec4u(m), lse, delta, factors);
}

/// Adds dA · q to every row of dk.
fn add_queries(sums: ptr<function, Tile>, weights: ptr<function, Rows>, query: ptr<function, Vector>) {
  for (var vec = 0u; vec < VECS; vec++) { add_queries_vec(sums, weights, shuffle((*query)[vec]), vec); } //! unroll
}

fn add_queries_vec(sums: ptr<function, Tile>, weights: ptr<function, Rows>, queries: Four, vec: u32) {
  for (var r = 0u; r < ROWS; r++) { (*sums)[r * VECS + vec] = add_values((*sums)[r * VECS + vec], (*weights)[r], queries); } //! unroll
}

/// Adds P ∘ R · dO to every row of dv.
fn add_gradients(sums: ptr<function, ValueTile>, weights: ptr<function, Rows>, lane_gradient: ptr<function, ValueVector>) {
  for (var vec = 0u; vec < V_VECS; vec++) { add_gradients_vec(sums, weights, shuffle((*lane_gradient)[vec]), vec); } //! unroll
}

fn add_gradients_vec(sums: ptr<function, ValueTile>, weights: ptr<function, Rows>, gradients: Four, vec: u32) {
  for (var r = 0u; r < ROWS; r++) { (*sums)[r * V_VECS + vec] = add_values((*sums)[r * V_VECS + vec], (*weights)[r], gradients); } //! unroll
}

/// A key's products with four queries, one by one.
fn scores_of(key: u32, queries: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let four = held(load_k(key, i), i, params.d) * params.scale_before;
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], four, load_q(queries[x], i));
    }
  }
  return dots;
}

/// The same of its value and four gradients.
fn products_of(value: u32, gradients: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < dv_vecs(); i++) {
    let four = held(load_v(value, i), i, params.dv);
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], four, load_gradient(gradients[x], i));
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
  let b = group.y / params.key_heads;
  let key_head = group.y % params.key_heads;
  let first_m = group.x * TILE_M;
  let lane_m = first_m + index * ROWS; // the first of this invocation's keys
  let lane = index % 4;
  let sharing = params.heads / params.key_heads; // query heads that read this key head

  // Which queries see keys of the workgroup. The queries are the same in every head.
  let first = head_of(b, key_head * sharing);
  let length = first.length;
  let k_at = k_base(first);
  let v_at = v_base(first);
  let band = band_of_keys(first, first_m, TILE_M);
  let begin = band.begin / 4 * 4;

  var keys: Tile;
  var values: ValueTile;
  var dk_sums: Tile; // dk / scale
  var dv_sums: ValueTile;
  for (var r = 0u; r < ROWS && lane_m + r < length; r++) { // a key that does not exist is not loaded
    for (var i = 0u; i < d_vecs(); i++) {
      keys[r * VECS + i] = held(load_k((k_at + (lane_m + r) * params.k_m) / UNIT, i), i, params.d) * params.scale_before;
    }
    for (var i = 0u; i < dv_vecs(); i++) {
      values[r * V_VECS + i] = held(load_v((v_at + (lane_m + r) * params.v_m) / UNIT, i), i, params.dv);
    }
  }

  var all_finite = true; // no step so far was taken as zeros. Where one was, the second loop adds the step, query by query
  for (var h = key_head * sharing; h < (key_head + 1) * sharing; h++) {
    let head = head_of(b, h);
    let q_at = q_base(head);
    let gradient_at = gradient_base(head);
    for (var first_n = begin; first_n < band.end; first_n += 4) {
      let n = min(first_n + lane, params.n - 1); // in place of a query that does not exist the last one is loaded, with weight 0
      let four = shuffle(vec4f(row_of(head, n), 0.0, 0.0));
      let lse = vec4f(four.a.x, four.b.x, four.c.x, four.d.x);
      let delta = vec4f(four.a.y, four.b.y, four.c.y, four.d.y);
      let queries = shuffled_from(first_n, lane);
      let query_row = (q_at + n * params.q_n) / UNIT;
      var query: Vector;
      var not_finite_bits = 0u;
      for (var i = 0u; i < d_vecs(); i++) {
        let loaded = load_q(query_row, i);
        query[i] = loaded;
        if (SKIP_ZEROS) {
          not_finite_bits = not_finite_bits | not_finite(loaded);
        }
      }
      let gradient_row = (gradient_at + n * params.gradient_n) / UNIT;
      var lane_gradient: ValueVector;
      for (var i = 0u; i < dv_vecs(); i++) {
        let loaded = load_gradient(gradient_row, i);
        lane_gradient[i] = loaded;
        if (SKIP_ZEROS) {
          not_finite_bits = not_finite_bits | not_finite(loaded);
        }
      }
      var s = Rows(); // q·k against the four queries; then dA
      var g = Rows(); // gradient·v; then P ∘ R
      add_scores(&s, &keys, &query);
      add_products(&g, &values, &lane_gradient);
      if (IN_LINES) {
        for (var r = 0u; r < ROWS; r++) { let w = key_weights(s[r], g[r], head, queries, lane_m + r, lse, delta); s[r] = w.gradient; g[r] = w.kept; } //! unroll
      } else {
        var gradients_of_rows = s;
        var kept = g;
        for (var r = 0u; r < ROWS; r++) {
          let w = key_weights(gradients_of_rows[r], kept[r], head, queries, lane_m + r, lse, delta);
          gradients_of_rows[r] = w.gradient;
          kept[r] = w.kept;
        }
        s = gradients_of_rows;
        g = kept;
      }
      // Infinity times a weight of 0 is not 0. Where an element is not finite, the first loop takes the step as zeros.
      // A loop without a turn costs a device on the CPU less than an if, whose body it runs masked.
      if (SKIP_ZEROS) {
        let is_finite = quad_or(not_finite_bits) == 0;
        all_finite = all_finite & is_finite;
        for (var i = select(0, d_vecs(), is_finite); i < d_vecs(); i++) {
          query[i] = vec4f();
        }
        for (var i = select(0, dv_vecs(), is_finite); i < dv_vecs(); i++) {
          lane_gradient[i] = vec4f();
        }
        for (var r = 0u; r < ROWS; r++) { s[r] = select(vec4f(), s[r], is_finite); g[r] = select(vec4f(), g[r], is_finite); } //! unroll
      }
      add_queries(&dk_sums, &s, &query);
      add_gradients(&dv_sums, &g, &lane_gradient);
    }
  }

  var all_dk = dk_sums; // copies: an array that is indexed with a variable anywhere stays in memory everywhere
  var all_dv = dv_sums;
  if (SKIP_ZEROS) {
    let vecs = (params.d + 3) / 4; // no const: see flash_forward_row
    let v_vecs = (params.dv + 3) / 4;
    for (var h = select(0, sharing, all_finite); h < sharing; h++) {
      let head = head_of(b, key_head * sharing + h);
      let q_at = q_base(head);
      let gradient_at = gradient_base(head);
      for (var first_n = begin; first_n < band.end; first_n += 4) {
        let queries = shuffled_from(first_n, lane);
        let n = min(queries, vec4u(params.n - 1));
        let query_rows = (q_at + n * params.q_n) / UNIT;
        let gradient_rows = (gradient_at + n * params.gradient_n) / UNIT;
        var not_finite_bits = 0u;
        for (var i = 0u; i < 4 * vecs; i++) {
          not_finite_bits = not_finite_bits | not_finite(load_q(query_rows[i % 4], i / 4));
        }
        for (var i = 0u; i < 4 * v_vecs; i++) {
          not_finite_bits = not_finite_bits | not_finite(load_gradient(gradient_rows[i % 4], i / 4));
        }
        if (not_finite_bits != 0) {
          var lse = vec4f();
          var delta = vec4f();
          for (var x = 0u; x < 4; x++) {
            let row = row_of(head, n[x]);
            lse[x] = row.x;
            delta[x] = row.y;
          }
          for (var r = 0u; r < ROWS; r++) {
            let m = min(lane_m + r, length - 1);
            let dots = scores_of((k_at + m * params.k_m) / UNIT, query_rows);
            let products = products_of((v_at + m * params.v_m) / UNIT, gradient_rows);
            let w = key_weights(dots, products, head, queries, lane_m + r, lse, delta);
            for (var i = 0u; i < 4 * vecs; i++) {
              let vec = r * VECS + i / 4;
              all_dk[vec] = add_weighted(all_dk[vec], w.gradient[i % 4], load_q(query_rows[i % 4], i / 4));
            }
            for (var i = 0u; i < 4 * v_vecs; i++) {
              let vec = r * V_VECS + i / 4;
              all_dv[vec] = add_weighted(all_dv[vec], w.kept[i % 4], load_gradient(gradient_rows[i % 4], i / 4));
            }
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS && lane_m + r < params.m; r++) {
    let m = lane_m + r;
    let exists = m < length; // 0 where the key does not exist, whatever the queries hold, and whatever its weights were
    let dk_row = (params.dk_offset + b * params.dk_b + key_head * params.dk_h + m * params.dk_m) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      store_dk(dk_row, i, select(vec4f(), all_dk[r * VECS + i] * params.scale_after * params.scale_before, exists));
    }
    let dv_row = (params.dv_offset + b * params.dv_b + key_head * params.dv_h + m * params.dv_m) / UNIT;
    for (var i = 0u; i < dv_vecs(); i++) {
      store_dv(dv_row, i, select(vec4f(), all_dv[r * V_VECS + i], exists));
    }
  }
}
