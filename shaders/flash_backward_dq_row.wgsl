enable subgroups;
// flash_backward_dq_row: what flash_backward_dq computes, for devices that run on the CPU: whole rows in one invocation, as in flash_forward_row.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dq  [B,H,N,D]
//
// An invocation holds ROWS queries, their rows of gradient and of dq. Four neighbours, a quad, take four keys a step: each loads one with its
// value, and gets the other three by quad swaps; the x-th key that a lane meets is first_m + (lane ^ x). For each step: q kᵀ and dO vᵀ, from them
// dA, and its products with the keys. Indices of hot arrays are literals, because compilers for the CPU keep only such arrays fast; loads are in
// loops, as flash_forward_row says.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: excluded, grid, dropout, dot, softcap_gradient, mask4, backward, vec4, quad_step, row_gradient, row_products.

alias Q = f32; // storage of q, gradient and dq
alias K = f32; // storage of k and v
alias Scores = vec4f; // what softcapped takes at once
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 4; // queries an invocation: 1, 2 or 4
const TILE_N: u32 = SIZE * ROWS; // queries a workgroup

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> gradient: array<Q_UNIT>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dq: array<Q_UNIT>;
@group(0) @binding(7) var<uniform> params: Params;

fn store_dq(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.d) { dq[row + 4 * vec + c] = Q(value[c]); } } }

/// dA of query n for the four keys that a lane meets from first_m on, from q kᵀ and dO vᵀ; exactly 0 where it does not see them.
fn score_gradient(dots: vec4f, products: vec4f, place: Place, n: u32, first_m: u32, lane: u32, row: vec2f) -> vec4f {
  let position = i32(n) + place.offset;
  let m = vec4u(first_m) + (vec4u(lane) ^ vec4u(0, 1, 2, 3));
  let at = vec4i(m);
  let is_seen = vec4<bool>(n < params.n) & (m < vec4u(place.length)) &
    (at <= vec4i(position + params.right)) & (at >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  var derivative = vec4f(1.0); // of the softcap
  if (SOFTCAP) {
    let capped = softcapped(s);
    s = select(s, capped.s, params.softcap > 0.0);
    derivative = select(derivative, capped.derivative, params.softcap > 0.0);
  }
  if (ALIBI) {
    s -= place.slope * vec4f(abs(vec4i(position) - at));
  }
  if (MASK > 0) {
    let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + n * params.mask_n;
    s = masked(s, select(vec4u(params.mask_offset), mask_row + m * params.mask_m, is_seen)); // the first element where there may be none
  }
  var weights = select(exp(s - row.x), vec4f(), s <= vec4f(EXCLUDED));
  if (SKIP_ZEROS) {
    weights = select(vec4f(), weights, is_seen);
  }
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    let words = philox(vec4u(first_m / 4, n, place.head, 0));
    let paired = select(words, words.yxwz, (lane & 1) != 0);
    let shuffled = select(paired, paired.zwxy, (lane & 2) != 0); // its x-th is words[lane ^ x]
    factors = select(vec4f(params.keep_factor), vec4f(), shuffled < vec4u(params.drop_below));
  }
  let result = weights * (factors * products - row.y) * derivative;
  return select(result, vec4f(), vec4<bool>(SKIP_ZEROS) & (weights == vec4f()));
}

/// Adds dA · k to one vec4 of every row of dq.
fn add_keys_vec(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>, vec: u32) {
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

fn add_keys_block(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>, block: u32) {
  add_keys_vec(sums, weights, own, 4 * block);
  add_keys_vec(sums, weights, own, 4 * block + 1);
  add_keys_vec(sums, weights, own, 4 * block + 2);
  add_keys_vec(sums, weights, own, 4 * block + 3);
}

fn add_keys_blocks(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>, first: u32) {
  add_keys_block(sums, weights, own, first);
  if (D_BLOCKS > 1) {
    add_keys_block(sums, weights, own, first + 1);
  }
  if (D_BLOCKS > 2) {
    add_keys_block(sums, weights, own, first + 2);
    add_keys_block(sums, weights, own, first + 3);
  }
}

fn add_keys(sums: ptr<function, Tile>, weights: ptr<function, array<vec4f, 4>>, own: ptr<function, Vector>) {
  add_keys_blocks(sums, weights, own, 0);
  if (D_BLOCKS > 4) {
    add_keys_blocks(sums, weights, own, 4);
  }
  if (D_BLOCKS > 8) {
    add_keys_blocks(sums, weights, own, 8);
    add_keys_blocks(sums, weights, own, 12);
  }
}

/// A query's products with four keys, one by one.
fn scores_of(query: u32, keys: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let own = held(load_q(query, i), i, params.d) * params.scale_before;
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_k(keys[x], i));
    }
  }
  return dots;
}

/// The same of its gradient and four values.
fn products_of(own_gradient: u32, values: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < dv_vecs(); i++) {
    let own = held(load_gradient(own_gradient, i), i, params.dv);
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_v(values[x], i));
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
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
  let own_n = first_n + index * ROWS; // the first of this invocation's queries
  let lane = index % 4;
  let place = place_of(b, h);
  let key_head = h * params.key_heads / params.heads;
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;
  let gradient_base = params.gradient_offset + b * params.gradient_b + h * params.gradient_h;

  // The keys that some query of the workgroup sees.
  let first_position = i32(first_n) + place.offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + place.offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(place.length))) / 4 * 4;
  let end = u32(clamp(last_position + params.right + 1, 0, i32(place.length)));

  var queries: Tile;
  var gradients: ValueTile;
  var sums: Tile; // dq / scale
  var own_rows: array<vec2f, 4>; // lse and delta
  for (var r = 0u; r < ROWS; r++) {
    let n = min(own_n + r, params.n - 1); // the row of a query that does not exist is never stored
    own_rows[r] = bitcast<vec2f>(rows[place.head * params.n + n].xy);
    for (var i = 0u; i < d_vecs(); i++) {
      queries[r * WIDTH + i] = held(load_q((q_base + n * params.q_n) / UNIT, i), i, params.d) * params.scale_before;
    }
    for (var i = 0u; i < dv_vecs(); i++) {
      gradients[r * V_WIDTH + i] = held(load_gradient((gradient_base + n * params.gradient_n) / UNIT, i), i, params.dv);
    }
  }

  var all_finite = true; // no step so far had its keys taken for zeros
  for (var first_m = begin; first_m < end; first_m += 4) {
    let m = min(first_m + lane, place.length - 1); // a key that does not exist is not loaded: its place is taken by one that does, with weight 0
    let key_row = (k_base + m * params.k_m) / UNIT;
    var key: Vector;
    var not_finite_bits = 0u;
    for (var i = 0u; i < d_vecs(); i++) {
      let loaded = load_k(key_row, i);
      key[i] = loaded;
      if (SKIP_ZEROS) {
        not_finite_bits = not_finite_bits | not_finite(loaded);
      }
    }
    let value_row = (v_base + m * params.v_m) / UNIT;
    var value: ValueVector;
    for (var i = 0u; i < dv_vecs(); i++) {
      value[i] = load_v(value_row, i);
    }
    var s = array<vec4f, 4>(); // q·k: [ROWS] against the four keys
    var g = array<vec4f, 4>(); // gradient·v
    add_scores(&s, &queries, &key);
    add_products(&g, &gradients, &value);
    if (IN_LINES) {
      s[0] = score_gradient(s[0], g[0], place, own_n, first_m, lane, own_rows[0]);
      if (ROWS > 1) {
        s[1] = score_gradient(s[1], g[1], place, own_n + 1, first_m, lane, own_rows[1]);
      }
      if (ROWS > 2) {
        s[2] = score_gradient(s[2], g[2], place, own_n + 2, first_m, lane, own_rows[2]);
        s[3] = score_gradient(s[3], g[3], place, own_n + 3, first_m, lane, own_rows[3]);
      }
    } else {
      var seen = s;
      let products = g;
      for (var r = 0u; r < ROWS; r++) {
        seen[r] = score_gradient(seen[r], products[r], place, own_n + r, first_m, lane, own_rows[r]);
      }
      s = seen;
    }
    // Infinity times a weight of 0 is not 0: where a key is not finite, the step counts as zeros here, and is added at the end.
    // A loop without a turn costs a device on the CPU less than an if, whose body it runs masked.
    if (SKIP_ZEROS) {
      let is_finite = quad_or(not_finite_bits) == 0;
      all_finite = all_finite & is_finite;
      for (var i = select(0, d_vecs(), is_finite); i < d_vecs(); i++) {
        key[i] = vec4f();
      }
      s[0] = select(vec4f(), s[0], is_finite); // an infinite one would make them NaN
      s[1] = select(vec4f(), s[1], is_finite);
      s[2] = select(vec4f(), s[2], is_finite);
      s[3] = select(vec4f(), s[3], is_finite);
    }
    add_keys(&sums, &s, &key);
  }

  var complete = sums; // a copy: an array that is indexed with a variable anywhere stays in memory everywhere
  if (SKIP_ZEROS) {
    for (var first_m = select(begin, end, all_finite); first_m < end; first_m += 4) {
      let m = min(vec4u(first_m) + (vec4u(lane) ^ vec4u(0, 1, 2, 3)), vec4u(place.length - 1));
      let key_rows = (k_base + m * params.k_m) / UNIT;
      let vecs = (params.d + 3) / 4; // no const: see flash_forward_row
      var not_finite_bits = 0u;
      for (var i = 0u; i < 4 * vecs; i++) {
        not_finite_bits = not_finite_bits | not_finite(load_k(key_rows[i % 4], i / 4));
      }
      if (not_finite_bits != 0) {
        for (var r = 0u; r < ROWS; r++) {
          let n = min(own_n + r, params.n - 1);
          let dots = scores_of((q_base + n * params.q_n) / UNIT, key_rows);
          let products = products_of((gradient_base + n * params.gradient_n) / UNIT, (v_base + m * params.v_m) / UNIT);
          let weights = score_gradient(dots, products, place, own_n + r, first_m, lane, own_rows[r]);
          for (var i = 0u; i < 4 * vecs; i++) {
            let vec = r * WIDTH + i / 4;
            complete[vec] = add_seen(complete[vec], weights[i % 4], load_k(key_rows[i % 4], i / 4));
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS && own_n + r < params.n; r++) {
    let row = (params.dq_offset + b * params.dq_b + h * params.dq_h + (own_n + r) * params.dq_n) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      store_dq(row, i, complete[r * WIDTH + i] * params.scale_after * params.scale_before);
    }
  }
}
