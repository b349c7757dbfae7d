enable subgroups;
// flash_backward_dkv_quad: what flash_backward_dkv computes, for GPUs with subgroups: no workgroup memory, no barriers, as in flash_forward_quad.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dk  [B,Hk,M,D]    dv [B,Hk,M,Dv]
//
// LANES neighbours, one quad or several, share ROWS keys of one key head. They split the head's elements: of each 4 · LANES elements a lane holds 4, in
// registers, of k, v, dk and dv. They walk over the query heads that read the key head. A step takes one query:
//   1. Each lane makes its part of q·k and of dO·v for all keys.
//   2. Quad swaps sum the parts. Each lane then has both products of one key, key lane % ROWS, and makes the P ∘ R and the dA of this key.
//   3. Broadcasts give them for all keys to every lane of the quad, and each lane adds P ∘ R · dO and dA · q for its elements.
// Where registers are few, PARTS workgroups share the elements of dk and dv. Nothing depends on how wide a subgroup is.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: backward, grid_quad, backward_head, head, band_of_keys, dropout, dot, quad, quad_gradient.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k, v, dk and dv
alias Scores = f32; // the type of softcapped's argument: f32 or vec4f
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_… and store_…
const ROWS: u32 = 2; // keys that they share: 1, 2 or 4
const PARTS: u32 = 1; // workgroups that share the elements of dk and dv, each of which makes all weights: 1, 2 or 4
const DK_PART: u32 = (D_VECS + PARTS - 1) / PARTS; // vec4 of a row of dk that a lane sums
const DV_PART: u32 = (DV_VECS + PARTS - 1) / PARTS;

@group(0) @binding(6) var<storage, read_write> dk: array<K_UNIT>;
@group(0) @binding(7) var<storage, read_write> dv: array<K_UNIT>;
@group(0) @binding(8) var<uniform> params: Params;

fn store_dk(row: u32, d: u32, value: vec4f) { for (var i = 0u; i < 4 && d + i < params.d; i++) { dk[row + d + i] = K(value[i]); } }
fn store_dv(row: u32, d: u32, value: vec4f) { for (var i = 0u; i < 4 && d + i < params.dv; i++) { dv[row + d + i] = K(value[i]); } }

/// Elements of a key's row of dk or dv: 0 where the key does not exist, whatever the queries hold.
fn finished(sums: vec4f, m: u32, length: u32, factor: f32) -> vec4f {
  return select(vec4f(), sums * factor, m < length);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_position(workgroup, counts);
  let b = group.y / params.key_heads;
  let key_head = group.y % params.key_heads;
  let first_m = group.x * (SIZE / LANES) * ROWS;
  let lane = index % LANES;
  let lanes_m = first_m + index / LANES * ROWS; // the first of its group's keys
  let lane_m = lanes_m + lane % ROWS; // the one whose weights this lane makes
  let sharing = params.heads / params.key_heads; // query heads that read this key head

  // Which queries see keys of the workgroup. The queries are the same in every head.
  let first = head_of(b, key_head * sharing);
  let length = first.length;
  let band = band_of_keys(first, first_m, (SIZE / LANES) * ROWS);
  let k_at = k_base(first);
  let v_at = v_base(first);

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
      keys[r * D_VECS + i] = held(load_k(k_at + m * params.k_m, d), d, params.d) * scale_before();
    }
    for (var i = 0u; i < DV_VECS; i++) {
      let e = 4 * (LANES * i + lane);
      values[r * DV_VECS + i] = held(load_v(v_at + m * params.v_m, e), e, params.dv);
    }
  }

  for (var h = key_head * sharing; h < (key_head + 1) * sharing; h++) {
    let head = head_of(b, h);
    let is_plain = params.mask_kind == 0 && params.softcap == 0.0 && head.slope == 0.0 && !DROPOUT;
    var q_row = q_base(head) + band.begin * params.q_n;
    var gradient_row = gradient_base(head) + band.begin * params.gradient_n;
    for (var n = band.begin; n < band.end; n++) {
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
      let dot = lane_sum(dots, lane);
      let product = lane_sum(products, lane);
      let row = row_of(head, n);
      var lane_weights = Weights();
      if (is_plain && n >= band.whole_begin && n < band.whole_end) {
        lane_weights = plain_weights_of(dot, product, row);
      } else {
        var factor = 1.0; // dropout's
        if (DROPOUT) {
          let words = philox(vec4u(lane_m / 4, n, head.index, 0));
          factor = select(params.keep_factor, 0.0, words[lane_m % 4] < params.drop_below);
        }
        lane_weights = weights_of(dot, product, head, n, lane_m, row, factor);
      }
      let kept = of_all_rows(lane_weights.kept);
      let weights = of_all_rows(lane_weights.gradient);
      // gradient and q are loaded once more. With one part compilers keep the first load, with several the parts differ.
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
