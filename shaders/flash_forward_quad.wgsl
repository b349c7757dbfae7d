enable subgroups;
// flash_forward_quad: what flash_forward computes, for GPUs with subgroups: no workgroup memory, no barriers.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N]
//
// LANES neighbours, one quad or several, share ROWS queries of one head. They split the head's elements: of each 4 · LANES elements a lane holds 4, in
// registers, of q and of out. out stays unnormalised until the end. A step takes one key:
//   1. Each lane makes its part of the dot products with all rows.
//   2. Quad swaps sum the parts. Each lane then has the score of one row, row lane % ROWS, and keeps the maximum and the sum of this row.
//   3. Broadcasts give the weights of all rows to every lane of the quad, and each lane adds weights · v for its elements.
// Keys that every query sees, with scores that nothing changes, run in a loop without code for masks.
// Nothing depends on how wide a subgroup is. Compilers for GPUs keep all of this in registers where no loop takes two keys at once.
// Its twin on the CPU is src/reference/attention.ts, its test test/kernels/flash_forward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1.
// Parts: forward_bindings, grid_quad, forward_head, head, band, excluded, dot, scale, mask, dropout, quad, row_end.

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
alias Scores = f32; // the type of softcapped's argument: f32 or vec4f
const VEC4: bool = false; // offsets, strides, D and DV are multiples of 4: other Q_UNIT, K_UNIT, load_q, load_k, load_v, store_out
const ROWS: u32 = 4; // queries that they share: 1, 2 or 4
const D: u32 = 64; // head size of q and k
const DV: u32 = 64; // head size of v and out
const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter
const D_VECS: u32 = (D + 4 * LANES - 1) / (4 * LANES); // vec4 of a row of q that a lane holds
const DV_VECS: u32 = (DV + 4 * LANES - 1) / (4 * LANES); // vec4 of a row of out that a lane holds
const TILE_N: u32 = (SIZE / LANES) * ROWS; // queries a workgroup
const HEAVY: f32 = 256.0; // a weight above this makes its score the row's reference: up to here sums lose nothing, and steps that rescale are few
const STEEPEST: f32 = 80.0; // exponents end here, so that a weight and its reciprocal are normal f32

@group(0) @binding(6) var<storage, read_write> out: array<Q_UNIT>;

/// The vec-th four elements of a row. Past the row's end the last elements stand in for the missing ones: the products with a missing element are 0,
/// and out's are not stored.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, D); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_k(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, D); return vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])); }
fn load_v(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, DV); return vec4f(f32(v[e.x]), f32(v[e.y]), f32(v[e.z]), f32(v[e.w])); }
fn store_out(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < DV) { out[row + 4 * vec + c] = Q(value[c]); } } }

fn elements(vec: u32, size: u32) -> vec4u {
  let e = 4 * vec + vec4u(0, 1, 2, 3);
  return select(min(e, vec4u(size - 1)), e, size % (4 * LANES) == 0);
}

/// The number of a vec4 in a row of whole ones.
fn inside(vec: u32, size: u32) -> u32 {
  return select(min(vec, size / 4 - 1), vec, size % (4 * LANES) == 0);
}

/// A row's part that a lane holds, 0 past the row's end.
fn load_query(row: u32, vec: u32) -> vec4f {
  return select(vec4f(), load_q(row, vec) * scale_before(), 4 * vec + vec4u(0, 1, 2, 3) < vec4u(D));
}

/// The score of query n against key m, which exists. LOWEST where the query does not see the key.
fn score(dot: f32, head: Head, n: u32, m: u32) -> f32 {
  let position = i32(n) + head.offset;
  if (n >= params.n || i32(m) > position + params.right || i32(m) < position - params.left) {
    return LOWEST;
  }
  return masked(scaled(dot) - head.slope * f32(abs(position - i32(m))), params.mask_kind, mask_row(head, n) + m * params.mask_m);
}

/// What a lane keeps of its row, row lane % ROWS.
struct Row {
  n: u32,
  reference: f32, // the score that sum and out are relative to: replaced only when a weight exceeds HEAVY
  sum: f32, // of the weights, relative to exp(reference) as out is
  words: vec4u, // dropout's random words of keys 4 · words_of to 4 · words_of + 3
  words_of: u32,
}

/// q·k of the lane's row.
fn lane_dot(queries: ptr<function, array<vec4f, ROWS * D_VECS>>, row: u32, lane: u32) -> f32 {
  var parts = vec4f();
  for (var i = 0u; i < D_VECS; i++) {
    let key = load_k(row, LANES * i + lane);
    for (var r = 0u; r < ROWS; r++) {
      parts[r] = add_dot(parts[r], (*queries)[r * D_VECS + i], key);
    }
  }
  return lane_sum(parts, lane);
}

/// Online softmax: takes in the score of the lane's row against key m, and returns the weights of all rows.
fn update_softmax(state: ptr<function, Row>, sums: ptr<function, array<vec4f, ROWS * DV_VECS>>, s: f32, is_visible: bool) -> vec4f {
  var weight = select(0.0, exp(min(s - (*state).reference, STEEPEST)), is_visible);
  var weights = of_all_rows(weight);
  if (max(max(weights.x, weights.y), max(weights.z, weights.w)) > HEAVY) { // seldom, once a large key was seen
    for (var r = 0u; r < ROWS; r++) {
      let rescale = select(1.0, 1.0 / weights[r], weights[r] > HEAVY);
      weights[r] *= rescale;
      for (var i = 0u; i < DV_VECS; i++) {
        (*sums)[r * DV_VECS + i] *= rescale;
      }
    }
    if (weight > HEAVY) {
      let bits = bitcast<u32>(s);
      let is_finite = (bits << 1) < 0xff000000;
      (*state).reference = s;
      (*state).sum = select(bitcast<f32>(bits | 0x7fc00000), (*state).sum / weight, is_finite); // NaN stays: min took the exponent's NaN for STEEPEST
      weight = 1.0;
    }
  }
  (*state).sum += weight;
  return weights;
}

/// What dropout leaves of the weights of key m.
fn dropped(state: ptr<function, Row>, weights: vec4f, head: u32, m: u32) -> vec4f {
  if ((*state).words_of != m / 4) {
    (*state).words = philox(vec4u(m / 4, (*state).n, head, 0));
    (*state).words_of = m / 4;
  }
  return weights * of_all_rows(select(params.keep_factor, 0.0, (*state).words[m % 4] < params.drop_below));
}

/// out += weights · v.
fn add_value(sums: ptr<function, array<vec4f, ROWS * DV_VECS>>, weights: vec4f, row: u32, lane: u32, skips_zeros: bool) {
  var value: array<vec4f, DV_VECS>;
  for (var i = 0u; i < DV_VECS; i++) {
    value[i] = load_v(row, LANES * i + lane);
  }
  for (var r = 0u; r < ROWS; r++) {
    if (!skips_zeros || weights[r] != 0.0) {
      for (var i = 0u; i < DV_VECS; i++) {
        (*sums)[r * DV_VECS + i] = fma(vec4f(weights[r]), value[i], (*sums)[r * DV_VECS + i]);
      }
    }
  }
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_position(workgroup, counts);
  let head = head_at(group.y);
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries begin first: causal queries at the end see most keys
  let lane = index % LANES;
  let lanes_n = first_n + index / LANES * ROWS; // the first of its group's queries
  let lane_n = lanes_n + lane % ROWS; // the one whose maximum and sum this lane keeps
  let q_at = q_base(head);
  let k_at = k_base(head);
  let v_at = v_base(head);

  // With nothing but the band to change scores, the keys that every query sees take the short way.
  let band = band_of(head, first_n, TILE_N);
  let is_plain = params.mask_kind == 0 && params.softcap == 0.0 && params.has_alibi == 0;
  let whole_end = select(band.whole_begin, band.whole_end, is_plain);

  var queries: array<vec4f, ROWS * D_VECS>; // [ROWS][D_VECS]
  for (var r = 0u; r < ROWS; r++) {
    let row = q_at + min(lanes_n + r, params.n - 1) * params.q_n; // rows past the last are computed, and not stored
    for (var i = 0u; i < D_VECS; i++) {
      queries[r * D_VECS + i] = load_query(row, LANES * i + lane);
    }
  }
  var sums: array<vec4f, ROWS * DV_VECS>; // out, unnormalised: [ROWS][DV_VECS]
  var state = Row(lane_n, LOWEST, 0.0, vec4u(), 0xffffffff);

  var k_row = k_at + band.whole_begin * params.k_m;
  var v_row = v_at + band.whole_begin * params.v_m;
  var dot = 0.0;
  if (band.whole_begin < whole_end) {
    dot = lane_dot(&queries, k_row, lane);
  }
  for (var m = band.whole_begin; m < whole_end; m++) {
    var weights = update_softmax(&state, &sums, dot * params.scale_after, true);
    if (DROPOUT) {
      weights = dropped(&state, weights, head.index, m);
    }
    add_value(&sums, weights, v_row, lane, false);
    k_row += select(0, params.k_m, m + 1 < whole_end);
    v_row += params.v_m;
    dot = lane_dot(&queries, k_row, lane); // the next key's here, beside this one's value: one wait for both
  }

  let others = band.end - band.begin - (whole_end - band.whole_begin); // before and after the whole ones
  for (var i = 0u; i < others; i++) {
    let m = select(band.end - others + i, band.begin + i, band.begin + i < band.whole_begin);
    let s = score(lane_dot(&queries, k_at + m * params.k_m, lane), head, lane_n, m);
    var weights = update_softmax(&state, &sums, s, !is_excluded(s));
    if (DROPOUT) {
      weights = dropped(&state, weights, head.index, m);
    }
    add_value(&sums, weights, v_at + m * params.v_m, lane, SKIP_ZEROS);
  }

  let end = row_end(state.reference, state.sum, head.h);
  let factors = of_all_rows(end.factor);
  let out_at = out_base(head);
  for (var r = 0u; r < ROWS; r++) {
    for (var i = 0u; i < DV_VECS; i++) {
      if (lanes_n + r < params.n) {
        store_out(out_at + (lanes_n + r) * params.out_n, LANES * i + lane, sums[r * DV_VECS + i] * factors[r]);
      }
    }
  }
  if (params.has_lse != 0 && lane < ROWS && lane_n < params.n) {
    lse[head.index * params.n + lane_n] = end.lse;
  }
}
