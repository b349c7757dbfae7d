enable subgroups;
// flash_backward_dkv_row: what flash_backward_dkv computes, for devices that run on the CPU: whole rows in one invocation, as in flash_forward_row.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dk  [B,Hk,M,D]    dv [B,Hk,M,Dv]
//
// An invocation holds ROWS keys of one key head, their values, and their rows of dk and dv. It walks over the query heads that read the key head.
// Four neighbours, a quad, take four queries a step: each loads one with its row of gradient, and gets the other three by quad swaps; the x-th
// query that a lane meets is first_n + (lane ^ x). For each step: q kᵀ and dO vᵀ, from them P ∘ R and dA, and their products with dO and q. Indices
// of hot arrays are literals, because compilers for the CPU keep only such arrays fast; loads are in loops, as flash_forward_row says.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: excluded, grid, dropout, dot, softcap_gradient, mask4, backward, vec4, quad_step, row_gradient, row_products.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k, v, dk and dv
alias Scores = vec4f; // what softcapped takes at once
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 4; // keys an invocation: 1, 2 or 4
const TILE_M: u32 = SIZE * ROWS; // keys a workgroup

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> gradient: array<Q_UNIT>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dk: array<K_UNIT>;
@group(0) @binding(7) var<storage, read_write> dv: array<K_UNIT>;
@group(0) @binding(8) var<uniform> params: Params;

fn store_dk(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.d) { dk[row + 4 * vec + c] = K(value[c]); } } }
fn store_dv(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.dv) { dv[row + 4 * vec + c] = K(value[c]); } } }

/// What dv and dk are made of, for one key and four queries.
struct Weights {
  kept: vec4f, // P ∘ R
  gradient: vec4f, // dA
}

/// P ∘ R and dA of key m for the four queries that a lane meets from first_n on, from q kᵀ and dO vᵀ; exactly 0 where it exists and they do not see it.
fn weights_of(dots: vec4f, products: vec4f, place: Place, first_n: u32, lane: u32, m: u32, lse: vec4f, delta: vec4f) -> Weights {
  let n = vec4u(first_n) + (vec4u(lane) ^ vec4u(0, 1, 2, 3));
  let position = vec4i(n) + place.offset;
  let is_seen = (n < vec4u(params.n)) & vec4<bool>(m < place.length) &
    (vec4i(i32(m)) <= position + params.right) & (vec4i(i32(m)) >= position - params.left);
  var s = dots * params.scale_after;
  var derivative = vec4f(1.0); // of the softcap
  if (SOFTCAP) {
    let capped = softcapped(s);
    s = select(s, capped.s, params.softcap > 0.0);
    derivative = select(derivative, capped.derivative, params.softcap > 0.0);
  }
  if (ALIBI) {
    s -= place.slope * vec4f(abs(position - vec4i(i32(m))));
  }
  if (MASK > 0) {
    let mask_column = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + m * params.mask_m;
    s = masked(s, select(vec4u(params.mask_offset), mask_column + n * params.mask_n, is_seen)); // the first element where there may be none
  }
  var weights = select(exp(s - lse), vec4f(), s <= vec4f(EXCLUDED));
  if (SKIP_ZEROS) {
    weights = select(vec4f(), weights, is_seen);
  }
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    for (var x = 0u; x < 4; x++) {
      let word = philox(vec4u(m / 4, n[x], place.head, 0))[m % 4];
      factors[x] = select(params.keep_factor, 0.0, word < params.drop_below);
    }
  }
  let result = weights * (factors * products - delta) * derivative;
  return Weights(weights * factors, select(result, vec4f(), vec4<bool>(SKIP_ZEROS) & (weights == vec4f())));
}

/// The four numbers that a lane meets, in its order.
fn meet_numbers(own: f32) -> vec4f {
  let b = quadSwapX(own);
  return vec4f(own, b, quadSwapY(own), quadSwapY(b));
}

/// Adds dA · q to one vec4 of every row of dk.
fn add_queries_vec(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>, vec: u32) {
  let shuffled = shuffle((*own)[vec]);
  (*sums)[vec] = add_values((*sums)[vec], (*weights)[0], shuffled);
  if (ROWS > 1) {
    (*sums)[WIDTH + vec] = add_values((*sums)[WIDTH + vec], (*weights)[1], shuffled);
  }
  if (ROWS > 2) {
    (*sums)[2 * WIDTH + vec] = add_values((*sums)[2 * WIDTH + vec], (*weights)[2], shuffled);
    (*sums)[3 * WIDTH + vec] = add_values((*sums)[3 * WIDTH + vec], (*weights)[3], shuffled);
  }
}

fn add_queries_block(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>, block: u32) {
  add_queries_vec(sums, weights, own, 4 * block);
  add_queries_vec(sums, weights, own, 4 * block + 1);
  add_queries_vec(sums, weights, own, 4 * block + 2);
  add_queries_vec(sums, weights, own, 4 * block + 3);
}

fn add_queries_blocks(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>, first: u32) {
  add_queries_block(sums, weights, own, first);
  if (D_BLOCKS > 1) {
    add_queries_block(sums, weights, own, first + 1);
  }
  if (D_BLOCKS > 2) {
    add_queries_block(sums, weights, own, first + 2);
    add_queries_block(sums, weights, own, first + 3);
  }
}

fn add_queries(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>) {
  add_queries_blocks(sums, weights, own, 0);
  if (D_BLOCKS > 4) {
    add_queries_blocks(sums, weights, own, 4);
  }
  if (D_BLOCKS > 8) {
    add_queries_blocks(sums, weights, own, 8);
    add_queries_blocks(sums, weights, own, 12);
  }
}

/// Adds P ∘ R · dO to one vec4 of every row of dv.
fn add_gradients_vec(sums: ptr<function, ValueTile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, ValueVector>, vec: u32) {
  let shuffled = shuffle((*own)[vec]);
  (*sums)[vec] = add_values((*sums)[vec], (*weights)[0], shuffled);
  if (ROWS > 1) {
    (*sums)[V_WIDTH + vec] = add_values((*sums)[V_WIDTH + vec], (*weights)[1], shuffled);
  }
  if (ROWS > 2) {
    (*sums)[2 * V_WIDTH + vec] = add_values((*sums)[2 * V_WIDTH + vec], (*weights)[2], shuffled);
    (*sums)[3 * V_WIDTH + vec] = add_values((*sums)[3 * V_WIDTH + vec], (*weights)[3], shuffled);
  }
}

fn add_gradients_block(sums: ptr<function, ValueTile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, ValueVector>, block: u32) {
  add_gradients_vec(sums, weights, own, 4 * block);
  add_gradients_vec(sums, weights, own, 4 * block + 1);
  add_gradients_vec(sums, weights, own, 4 * block + 2);
  add_gradients_vec(sums, weights, own, 4 * block + 3);
}

fn add_gradients_blocks(sums: ptr<function, ValueTile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, ValueVector>, first: u32) {
  add_gradients_block(sums, weights, own, first);
  if (DV_BLOCKS > 1) {
    add_gradients_block(sums, weights, own, first + 1);
  }
  if (DV_BLOCKS > 2) {
    add_gradients_block(sums, weights, own, first + 2);
    add_gradients_block(sums, weights, own, first + 3);
  }
}

fn add_gradients(sums: ptr<function, ValueTile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, ValueVector>) {
  add_gradients_blocks(sums, weights, own, 0);
  if (DV_BLOCKS > 4) {
    add_gradients_blocks(sums, weights, own, 4);
  }
  if (DV_BLOCKS > 8) {
    add_gradients_blocks(sums, weights, own, 8);
    add_gradients_blocks(sums, weights, own, 12);
  }
}

/// A key's products with four queries, one by one.
fn scores_of(key: u32, queries: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let own = held(load_k(key, i), i, params.d) * params.scale_before;
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_q(queries[x], i));
    }
  }
  return dots;
}

/// The same of its value and four gradients.
fn products_of(value: u32, gradients: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < dv_vecs(); i++) {
    let own = held(load_v(value, i), i, params.dv);
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_gradient(gradients[x], i));
    }
  }
  return dots;
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_place(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let b = group.y / params.key_heads;
  let key_head = group.y % params.key_heads;
  let first_m = group.x * TILE_M;
  let own_m = first_m + index * ROWS; // the first of this invocation's keys
  let lane = index % 4;
  let sharing = params.heads / params.key_heads; // query heads that read this key head
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The queries that see some key of the workgroup. They are the same in every head.
  let first_place = place_of(b, key_head * sharing);
  let length = first_place.length;
  let last_m = min(first_m + TILE_M, length) - 1; // not used where no key exists
  let begin = u32(clamp(i32(first_m) - first_place.offset - params.right, 0, i32(params.n))) / 4 * 4;
  let seen_end = u32(clamp(i32(last_m) - first_place.offset + params.left + 1, 0, i32(params.n)));
  let end = select(0, seen_end, first_m < length);

  var keys: Tile;
  var values: ValueTile;
  var dk_sums: Tile; // dk / scale
  var dv_sums: ValueTile;
  for (var r = 0u; r < ROWS && own_m + r < length; r++) { // a key that does not exist is not loaded
    for (var i = 0u; i < d_vecs(); i++) {
      keys[r * WIDTH + i] = held(load_k((k_base + (own_m + r) * params.k_m) / UNIT, i), i, params.d) * params.scale_before;
    }
    for (var i = 0u; i < dv_vecs(); i++) {
      values[r * V_WIDTH + i] = held(load_v((v_base + (own_m + r) * params.v_m) / UNIT, i), i, params.dv);
    }
  }

  var all_finite = true; // no step so far had its queries and gradients taken for zeros
  for (var h = key_head * sharing; h < (key_head + 1) * sharing; h++) {
    let place = place_of(b, h);
    let q_base = params.q_offset + b * params.q_b + h * params.q_h;
    let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;
    for (var first_n = begin; first_n < end; first_n += 4) {
      let n = min(first_n + lane, params.n - 1); // a query that does not exist has its place taken by one that does, with weight 0
      let row = bitcast<vec2f>(rows[place.head * params.n + n].xy);
      let lse = meet_numbers(row.x);
      let delta = meet_numbers(row.y);
      let query_row = (q_base + n * params.q_n) / UNIT;
      var query: Vector;
      var not_finite_bits = 0u;
      for (var i = 0u; i < d_vecs(); i++) {
        let loaded = load_q(query_row, i);
        query[i] = loaded;
        if (SKIP_ZEROS) {
          not_finite_bits = not_finite_bits | not_finite(loaded);
        }
      }
      let gradient_row = (gradient_base + n * params.gradient_n) / UNIT;
      var own_gradient: ValueVector;
      for (var i = 0u; i < dv_vecs(); i++) {
        let loaded = load_gradient(gradient_row, i);
        own_gradient[i] = loaded;
        if (SKIP_ZEROS) {
          not_finite_bits = not_finite_bits | not_finite(loaded);
        }
      }
      var s = array<vec4f, 4>(); // q·k: [ROWS] against the four queries; then dA
      var g = array<vec4f, 4>(); // gradient·v; then P ∘ R
      add_scores(&s, &keys, &query);
      add_products(&g, &values, &own_gradient);
      if (IN_LINES) {
        var w = weights_of(s[0], g[0], place, first_n, lane, own_m, lse, delta);
        s[0] = w.gradient;
        g[0] = w.kept;
        if (ROWS > 1) {
          w = weights_of(s[1], g[1], place, first_n, lane, own_m + 1, lse, delta);
          s[1] = w.gradient;
          g[1] = w.kept;
        }
        if (ROWS > 2) {
          w = weights_of(s[2], g[2], place, first_n, lane, own_m + 2, lse, delta);
          s[2] = w.gradient;
          g[2] = w.kept;
          w = weights_of(s[3], g[3], place, first_n, lane, own_m + 3, lse, delta);
          s[3] = w.gradient;
          g[3] = w.kept;
        }
      } else {
        var seen = s;
        var kept = g;
        for (var r = 0u; r < ROWS; r++) {
          let w = weights_of(seen[r], kept[r], place, first_n, lane, own_m + r, lse, delta);
          seen[r] = w.gradient;
          kept[r] = w.kept;
        }
        s = seen;
        g = kept;
      }
      // Infinity times a weight of 0 is not 0: where an element is not finite, the step counts as zeros here, and is added at the end.
      // A loop without a turn costs a device on the CPU less than an if, whose body it runs masked.
      if (SKIP_ZEROS) {
        let is_finite = quad_or(not_finite_bits) == 0;
        all_finite = all_finite & is_finite;
        for (var i = select(0, d_vecs(), is_finite); i < d_vecs(); i++) {
          query[i] = vec4f();
        }
        for (var i = select(0, dv_vecs(), is_finite); i < dv_vecs(); i++) {
          own_gradient[i] = vec4f();
        }
        s[0] = select(vec4f(), s[0], is_finite); // an infinite one would make them NaN
        s[1] = select(vec4f(), s[1], is_finite);
        s[2] = select(vec4f(), s[2], is_finite);
        s[3] = select(vec4f(), s[3], is_finite);
        g[0] = select(vec4f(), g[0], is_finite);
        g[1] = select(vec4f(), g[1], is_finite);
        g[2] = select(vec4f(), g[2], is_finite);
        g[3] = select(vec4f(), g[3], is_finite);
      }
      add_queries(&dk_sums, &s, &query);
      add_gradients(&dv_sums, &g, &own_gradient);
    }
  }

  var all_dk = dk_sums; // copies: an array that is indexed with a variable anywhere stays in memory everywhere
  var all_dv = dv_sums;
  if (SKIP_ZEROS) {
    let vecs = (params.d + 3) / 4; // no const: see flash_forward_row
    let v_vecs = (params.dv + 3) / 4;
    for (var h = select(0, sharing, all_finite); h < sharing; h++) {
      let place = place_of(b, key_head * sharing + h);
      let q_base = params.q_offset + b * params.q_b + place.h * params.q_h;
      let gradient_base = params.gradient_offset + b * params.gradient_b + place.h * params.gradient_h;
      for (var first_n = begin; first_n < end; first_n += 4) {
        let n = min(vec4u(first_n) + (vec4u(lane) ^ vec4u(0, 1, 2, 3)), vec4u(params.n - 1));
        let query_rows = (q_base + n * params.q_n) / UNIT;
        let gradient_rows = (gradient_base + n * params.gradient_n) / UNIT;
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
            let row = bitcast<vec2f>(rows[place.head * params.n + n[x]].xy);
            lse[x] = row.x;
            delta[x] = row.y;
          }
          for (var r = 0u; r < ROWS; r++) {
            let m = min(own_m + r, length - 1);
            let dots = scores_of((k_base + m * params.k_m) / UNIT, query_rows);
            let products = products_of((v_base + m * params.v_m) / UNIT, gradient_rows);
            let w = weights_of(dots, products, place, first_n, lane, own_m + r, lse, delta);
            for (var i = 0u; i < 4 * vecs; i++) {
              let vec = r * WIDTH + i / 4;
              all_dk[vec] = add_seen(all_dk[vec], w.gradient[i % 4], load_q(query_rows[i % 4], i / 4));
            }
            for (var i = 0u; i < 4 * v_vecs; i++) {
              let vec = r * V_WIDTH + i / 4;
              all_dv[vec] = add_seen(all_dv[vec], w.kept[i % 4], load_gradient(gradient_rows[i % 4], i / 4));
            }
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS && own_m + r < params.m; r++) {
    let m = own_m + r;
    let exists = m < length; // 0 where the key does not exist, whatever the queries hold, and whatever its weights were
    let dk_row = (params.dk_offset + b * params.dk_b + key_head * params.dk_h + m * params.dk_m) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      store_dk(dk_row, i, select(vec4f(), all_dk[r * WIDTH + i] * params.scale_after * params.scale_before, exists));
    }
    let dv_row = (params.dv_offset + b * params.dv_b + key_head * params.dv_h + m * params.dv_m) / UNIT;
    for (var i = 0u; i < dv_vecs(); i++) {
      store_dv(dv_row, i, select(vec4f(), all_dv[r * V_WIDTH + i], exists));
    }
  }
}
