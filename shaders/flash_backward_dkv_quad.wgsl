enable subgroups;
// flash_backward_dkv_quad: what flash_backward_dkv computes, for GPUs with subgroups: no workgroup memory, no barriers, as in flash_forward_quad.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dk  [B,Hk,M,D]    dv [B,Hk,M,Dv]
//
// LANES neighbours, one quad or several, share ROWS keys of one key head and split the head's elements between them: of each 4 · LANES a lane
// holds 4, in registers, of k, v, dk and dv. They walk over the query heads that read the key head. A step takes one query: each lane's parts of
// q·k and of dO·v; swaps that sum them so that each lane has both of one key, key lane % ROWS, and makes its P ∘ R and dA; broadcasts of these to
// the quad; their products with dO and q for the lane's elements. Where registers are few PARTS workgroups share these. Nothing depends on how wide a subgroup is.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: excluded, grid_quad, dropout, dot, softcap_gradient, mask_seen, backward, backward_row, quad, quad_gradient.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k, v, dk and dv
alias Scores = f32; // what softcapped takes at once
alias Q_UNIT = Q; // with VEC4 vec4<Q>: what the bindings are arrays of
alias K_UNIT = K;
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 2; // keys that they share: 1, 2 or 4
const PARTS: u32 = 1; // workgroups that share the elements of dk and dv, each of which makes all weights: 1, 2 or 4
const DK_PART: u32 = (D_VECS + PARTS - 1) / PARTS; // vec4 of a row of dk that a lane sums
const DV_PART: u32 = (DV_VECS + PARTS - 1) / PARTS;

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> gradient: array<Q_UNIT>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(6) var<storage, read_write> dk: array<K_UNIT>;
@group(0) @binding(7) var<storage, read_write> dv: array<K_UNIT>;
@group(0) @binding(8) var<uniform> params: Params;

fn store_dk(row: u32, d: u32, value: vec4f) { for (var i = 0u; i < 4 && d + i < params.d; i++) { dk[row + d + i] = K(value[i]); } }
fn store_dv(row: u32, d: u32, value: vec4f) { for (var i = 0u; i < 4 && d + i < params.dv; i++) { dv[row + d + i] = K(value[i]); } }

/// What dv and dk are made of, for one query and one key.
struct Weights {
  kept: f32, // P ∘ R
  gradient: f32, // dA
}

/// P ∘ R and dA of query n and key m, from their q·k and dO·v; exactly 0 where the query does not see the key.
fn weights_of(dot: f32, product: f32, place: Place, n: u32, m: u32, row: vec2f, factor: f32) -> Weights {
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
  return Weights(weight * factor, select(0.0, weight * (factor * product - row.y) * derivative, weight != 0.0));
}

/// Elements of a key's row of dk or dv: 0 where the key does not exist, whatever the queries hold.
fn finished(sums: vec4f, m: u32, length: u32, factor: f32) -> vec4f {
  return select(vec4f(), sums * factor, m < length);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_place(workgroup, counts);
  let b = group.y / params.key_heads;
  let key_head = group.y % params.key_heads;
  let first_m = group.x * (SIZE / LANES) * ROWS;
  let lane = index % LANES;
  let lanes_m = first_m + index / LANES * ROWS; // the first of its group's keys
  let own_m = lanes_m + lane % ROWS; // the one whose weights this lane makes
  let sharing = params.heads / params.key_heads; // query heads that read this key head
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The queries that see some key of the workgroup, and among them those that see every one, with scores that nothing changes: the same in every head.
  let first_place = place_of(b, key_head * sharing);
  let length = first_place.length;
  let last_m = min(first_m + (SIZE / LANES) * ROWS, length) - 1; // not used where no key exists
  let begin = u32(clamp(i32(first_m) - first_place.offset - params.right, 0, i32(params.n)));
  let seen = u32(clamp(i32(last_m) - first_place.offset + params.left + 1, 0, i32(params.n)));
  let end = select(0, seen, first_m < length);
  let whole_begin = i32(last_m) - first_place.offset - params.right;
  let whole_end = i32(first_m) - first_place.offset + params.left;

  var keys: array<vec4f, ROWS * D_VECS>; // [ROWS][D_VECS]
  var values: array<vec4f, ROWS * DV_VECS>; // [ROWS][DV_VECS]
  var dk_sums: array<vec4f, ROWS * DK_PART>; // dk / scale: [ROWS][DK_PART]
  var dv_sums: array<vec4f, ROWS * DV_PART>; // [ROWS][DV_PART]
  let dk_first = select(group.z * DK_PART, 0, PARTS == 1); // the first of this part's vec4
  let dv_first = select(group.z * DV_PART, 0, PARTS == 1);
  for (var r = 0u; r < ROWS; r++) {
    let m = min(lanes_m + r, max(length, 1) - 1); // keys past the last are computed, and stored as 0
    for (var i = 0u; i < D_VECS; i++) {
      let d = 4 * (LANES * i + lane);
      keys[r * D_VECS + i] = inside(load_k(k_base + m * params.k_m, d), d, params.d) * scale_before();
    }
    for (var i = 0u; i < DV_VECS; i++) {
      let e = 4 * (LANES * i + lane);
      values[r * DV_VECS + i] = inside(load_v(v_base + m * params.v_m, e), e, params.dv);
    }
  }

  for (var h = key_head * sharing; h < (key_head + 1) * sharing; h++) {
    let place = place_of(b, h);
    let is_plain = params.mask_kind == 0 && params.softcap == 0.0 && place.slope == 0.0 && !DROPOUT;
    var q_row = params.q_offset + b * params.q_b + h * params.q_h + begin * params.q_n;
    var gradient_row = params.gradient_offset + b * params.gradient_b + h * params.gradient_h + begin * params.gradient_n;
    for (var n = begin; n < end; n++) {
      var dots = vec4f();
      for (var i = 0u; i < D_VECS; i++) {
        let query = load_q(q_row, 4 * (LANES * i + lane));
        for (var r = 0u; r < ROWS; r++) {
          dots[r] = add_dot(dots[r], keys[r * D_VECS + i], query);
        }
      }
      var products = vec4f();
      for (var i = 0u; i < DV_VECS; i++) {
        let part = load_gradient(gradient_row, 4 * (LANES * i + lane));
        for (var r = 0u; r < ROWS; r++) {
          products[r] = add_dot(products[r], values[r * DV_VECS + i], part);
        }
      }
      let dot = own_sum(dots, lane);
      let product = own_sum(products, lane);
      let row = row_of(place.head, n);
      var own = Weights();
      if (is_plain && i32(n) >= whole_begin && i32(n) <= whole_end) {
        let s = dot * params.scale_after;
        let weight = select(exp(s - row.x), 0.0, s <= EXCLUDED);
        own = Weights(weight, weight * (product - row.y));
      } else {
        var factor = 1.0; // dropout's
        if (DROPOUT) {
          let words = philox(vec4u(own_m / 4, n, place.head, 0));
          factor = select(params.keep_factor, 0.0, words[own_m % 4] < params.drop_below);
        }
        own = weights_of(dot, product, place, n, own_m, row, factor);
      }
      let kept = all_rows(own.kept);
      let weights = all_rows(own.gradient);
      // Loaded once more: with one part compilers keep what they have, with several it is another part of the row.
      for (var i = 0u; i < DV_PART; i++) {
        let part = load_gradient(gradient_row, 4 * (LANES * (dv_first + i) + lane));
        for (var r = 0u; r < ROWS; r++) {
          dv_sums[r * DV_PART + i] = add_weighted(dv_sums[r * DV_PART + i], kept[r], part);
        }
      }
      for (var i = 0u; i < DK_PART; i++) {
        let query = load_q(q_row, 4 * (LANES * (dk_first + i) + lane));
        for (var r = 0u; r < ROWS; r++) {
          dk_sums[r * DK_PART + i] = add_weighted(dk_sums[r * DK_PART + i], weights[r], query);
        }
      }
      q_row += params.q_n;
      gradient_row += params.gradient_n;
    }
  }

  let dk_base = params.dk_offset + b * params.dk_b + key_head * params.dk_h;
  let dv_base = params.dv_offset + b * params.dv_b + key_head * params.dv_h;
  for (var r = 0u; r < ROWS; r++) {
    let m = lanes_m + r;
    for (var i = 0u; i < DK_PART; i++) {
      if (m < params.m) {
        store_dk(dk_base + m * params.dk_m, 4 * (LANES * (dk_first + i) + lane), finished(dk_sums[r * DK_PART + i] * params.scale_after, m, length, params.scale_before));
      }
    }
    for (var i = 0u; i < DV_PART; i++) {
      if (m < params.m) {
        store_dv(dv_base + m * params.dv_m, 4 * (LANES * (dv_first + i) + lane), finished(dv_sums[r * DV_PART + i], m, length, 1.0));
      }
    }
  }
}
