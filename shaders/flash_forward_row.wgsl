enable subgroups;
// flash_forward_row: what flash_forward computes, for devices that run on the CPU: whole rows in one invocation, no workgroup memory, no barriers.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N]
//
// An invocation holds ROWS queries and their rows of out, unnormalised until the end. Four neighbours, a quad, take four keys a step: each invocation
// loads one key, and gets the other three by quad swaps. So a loaded element feeds 4 · ROWS products. The x-th key of an invocation's step is
// first_m + (lane ^ x): softmax and weights · v need no common order. Nothing depends on how wide a subgroup is.
// Compilers for the CPU keep an array in registers where literals index it, and in memory where a variable does. Hence the loops that are written out:
// SwiftShader makes 22 to 30 times as many products a second as with plain loops (Chrome 143, 24 Nov 2026).
// All rows take in a vec4 of the four keys before the next vec4 is swapped. Block by block, lavapipe with 8 lanes takes 8% more time, and SwiftShader 3%
// (27 Nov 2026).
// The loads of a step are in plain loops, through arrays that stay in memory: written out, each load is dozens of branches to such a compiler. SwiftShader
// then took up to three times as long to compile, and ran no faster from D 64 on, 3 to 14% faster below (27 Nov 2026).
// Its twin on the CPU is src/reference/attention.ts, its test test/kernels/flash_forward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1.
// Parts: forward_bindings, grid, forward_head, head, band, excluded, dropout, softcap, mask4, vec4, quad_step, ratio, row_end, dot.

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
alias Scores = vec4f; // the type of softcapped's argument: f32 or vec4f
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_q, load_k, load_v, store_out
const ROWS: u32 = 8; // queries an invocation: 1, 2, 4 or 8
const SCORE_MOD: bool = MASK > 0 || SOFTCAP || ALIBI; // something changes scores. A constant: a device on the CPU runs both sides of a branch
const TILE_N: u32 = SIZE * ROWS; // queries a workgroup

alias Queries = array<vec4f, ROWS * VECS>; // [ROWS][VECS]
alias Sums = array<vec4f, ROWS * V_VECS>; // out, unnormalised: [ROWS][V_VECS]
alias Dots = array<vec4f, ROWS>; // [ROWS] against four keys
alias Rows = array<Row, ROWS>;
alias Key = array<vec4f, VECS>;
alias Value = array<vec4f, V_VECS>;

@group(0) @binding(6) var<storage, read_write> out: array<Q_UNIT>;

/// The scores of a query at a position among the keys against keys m, from their dot products: scale → softcap → ALiBi → mask, without the band.
fn modified_scores(dots: vec4f, slope: f32, position: i32, mask_row: u32, m: vec4u) -> vec4f {
  var s = dots * params.scale_after;
  if (SOFTCAP) {
    s = select(s, softcapped(s), params.softcap > 0.0);
  }
  if (ALIBI) {
    s -= slope * vec4f(abs(vec4i(position) - vec4i(m)));
  }
  if (MASK > 0) {
    s = masked(s, mask_row + m * params.mask_m);
  }
  return s;
}

/// The vec-th four elements of a row that begins at `row`, in UNITs. Past the row's end the last element stands in for the missing ones: the products
/// with a missing element are 0, and out's are not stored.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn store_out(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.dv) { out[row + 4 * vec + c] = Q(value[c]); } } }

/// Adds one vec4's part of the dot products.
fn score_vec(s: ptr<function, Dots>, queries: ptr<function, Queries>, vec: u32, keys: Four) {
  for (var r = 0u; r < ROWS; r++) { (*s)[r] = add_dots((*s)[r], (*queries)[r * VECS + vec], keys); } //! unroll
}

fn add_dot_products(s: ptr<function, Dots>, queries: ptr<function, Queries>, key: ptr<function, Key>) {
  for (var vec = 0u; vec < VECS; vec++) { score_vec(s, queries, vec, shuffle((*key)[vec])); } //! unroll
}

/// What a row knows of the keys so far, and its weights of the last four.
struct Row {
  largest: f32,
  sum: f32, // of the weights
  rescale: f32, // what the largest's last step makes of sum and out
  weights: vec4f,
}

/// exp(s − largest) of what is not excluded.
fn weights_of(s: vec4f, largest: f32) -> vec4f {
  return select(exp(s - largest), vec4f(), s <= vec4f(EXCLUDED));
}

/// max without its rules for NaN, which cost SwiftShader dozens of instructions.
fn larger(a: f32, b: f32) -> f32 {
  return select(a, b, b > a);
}

fn with_scores(row: Row, s: vec4f) -> Row {
  let largest = larger(row.largest, larger(larger(s.x, s.y), larger(s.z, s.w)));
  let rescale = ratio(row.largest, largest);
  let w = weights_of(s, largest);
  return Row(largest, row.sum * rescale + w.x + w.y + w.z + w.w, rescale, w); // in the order of the products: what both lose by rounding cancels
}

/// What the first query of an invocation sees: keys first ≤ m < end that exist. Row r's band is r keys further on.
struct RowBand {
  first: i32,
  end: i32,
  length: i32, // keys that exist
}

/// Row r's scores of the keys m, LOWEST where it does not see them.
fn within(s: vec4f, r: i32, band: RowBand, m: vec4i) -> vec4f {
  if (!SKIP_ZEROS) {
    return s; // every query sees every key
  }
  return select(vec4f(LOWEST), s, (m >= vec4i(band.first + r)) & (m < vec4i(min(band.end + r, band.length))));
}

fn update_softmax(rows: ptr<function, Rows>, s: ptr<function, Dots>, factor: f32, band: RowBand, m: vec4i) {
  for (var r = 0u; r < ROWS; r++) { (*rows)[r] = with_scores((*rows)[r], within((*s)[r] * factor, i32(r), band, m)); } //! unroll
}

/// One element of out after the next four values. Element by element, so that a compiler for the CPU keeps the sum in a register.
fn add_value(sum: f32, rescale: f32, w: vec4f, a: f32, b: f32, c: f32, d: f32) -> f32 {
  return fma(w.w, d, fma(w.z, c, fma(w.y, b, fma(w.x, a, sum * rescale))));
}

fn add_values(sums: vec4f, rescale: f32, w: vec4f, v: Four) -> vec4f {
  return vec4f(
    add_value(sums.x, rescale, w, v.a.x, v.b.x, v.c.x, v.d.x), add_value(sums.y, rescale, w, v.a.y, v.b.y, v.c.y, v.d.y),
    add_value(sums.z, rescale, w, v.a.z, v.b.z, v.c.z, v.d.z), add_value(sums.w, rescale, w, v.a.w, v.b.w, v.c.w, v.d.w));
}

/// Adds weights · v to one vec4 of every row of out.
fn value_vec(sums: ptr<function, Sums>, rows: ptr<function, Rows>, vec: u32, values: Four) {
  for (var r = 0u; r < ROWS; r++) { (*sums)[r * V_VECS + vec] = add_values((*sums)[r * V_VECS + vec], (*rows)[r].rescale, (*rows)[r].weights, values); } //! unroll
}

fn add_weighted_values(sums: ptr<function, Sums>, rows: ptr<function, Rows>, value: ptr<function, Value>, is_finite: bool) {
  for (var vec = 0u; vec < V_VECS; vec++) { value_vec(sums, rows, vec, shuffle(select(vec4f(), (*value)[vec], is_finite))); } //! unroll
}

/// A query's products with four keys, one by one.
fn dots_of(query: u32, keys: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let four = held(load_q(query, i), i, params.d) * params.scale_before;
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], four, load_k(keys[x], i));
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
  let q_at = q_base(head); // before the loops: SwiftShader moves nothing out of them
  let k_at = k_base(head);
  let v_at = v_base(head);
  let mask_at = mask_row(head, 0);
  let last = head.length - 1; // the last key
  let band = band_of(head, first_n, TILE_N); // what the workgroup's queries see
  let begin = band.begin / 4 * 4;
  let first = i32(lane_n) + head.offset;
  let row_band = RowBand(first - params.left, first + params.right + 1, i32(head.length));

  var loaded: Queries;
  for (var r = 0u; r < ROWS; r++) {
    let query_row = (q_at + min(lane_n + r, params.n - 1) * params.q_n) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      loaded[r * VECS + i] = held(load_q(query_row, i), i, params.d) * params.scale_before;
    }
  }
  // Copies, here and below: an array that is indexed with a variable anywhere stays in memory everywhere.
  var queries = loaded;
  var sums: Sums;
  var rows: Rows; // in memory, for a variable indexes it: SwiftShader takes 2% less time for that (28 Nov 2026)
  for (var i = 0u; i < ROWS; i++) {
    rows[i].largest = LOWEST;
  }
  var all_finite = true; // no value so far was infinite or NaN. Where one was, the second loop adds its steps, key by key

  for (var first_m = begin; first_m < band.end; first_m += 4) {
    let shuffled = shuffled_from(first_m, lane); // keys, this lane's first
    let keys = min(shuffled, vec4u(last)); // in place of a key that does not exist the last one is loaded, with weight 0
    var s = Dots();
    let key_row = (k_at + keys.x * params.k_m) / UNIT;
    var key: Key;
    for (var i = 0u; i < d_vecs(); i++) {
      key[i] = load_k(key_row, i);
    }
    add_dot_products(&s, &queries, &key);
    var modified = s;
    if (SCORE_MOD) {
      for (var r = 0u; r < ROWS; r++) {
        let n = min(lane_n + r, params.n - 1);
        modified[r] = modified_scores(modified[r], head.slope, i32(n) + head.offset, mask_at + n * params.mask_n, keys);
      }
    }
    update_softmax(&rows, &modified, select(params.scale_after, 1.0, SCORE_MOD), row_band, vec4i(shuffled));
    var kept = rows;
    if (DROPOUT) {
      for (var r = 0u; r < ROWS; r++) {
        kept[r].weights *= dropout_factors(shuffled_words(philox(vec4u(first_m / 4, lane_n + r, head.index, 0)), lane));
      }
    }
    let value_row = (v_at + keys.x * params.v_m) / UNIT;
    var value: Value;
    var not_finite_bits = 0u;
    for (var i = 0u; i < dv_vecs(); i++) {
      let loaded_value = load_v(value_row, i);
      value[i] = loaded_value;
      if (SKIP_ZEROS) {
        not_finite_bits = not_finite_bits | not_finite(loaded_value);
      }
    }
    // Infinity times a weight of 0 is not 0. Where one of the four values is not finite, the first loop takes all four as zeros.
    let is_finite = !SKIP_ZEROS || quad_or(not_finite_bits) == 0;
    all_finite = all_finite & is_finite;
    add_weighted_values(&sums, &kept, &value, is_finite);
  }

  var finished = rows;
  var complete = sums;
  if (SKIP_ZEROS) {
    for (var first_m = select(begin, band.end, all_finite); first_m < band.end; first_m += 4) {
      let shuffled = shuffled_from(first_m, lane);
      let keys = min(shuffled, vec4u(last));
      let value_rows = (v_at + keys * params.v_m) / UNIT;
      let vecs = (params.dv + 3) / 4; // no const: lavapipe's compiler would unroll the loops, and crashes over so many f16 (Mesa 26.1)
      var not_finite_bits = 0u;
      for (var i = 0u; i < 4 * vecs; i++) {
        not_finite_bits = not_finite_bits | not_finite(load_v(value_rows[i % 4], i / 4));
      }
      if (not_finite_bits != 0) {
        for (var r = 0u; r < ROWS; r++) {
          let n = min(lane_n + r, params.n - 1);
          let dots = dots_of((q_at + n * params.q_n) / UNIT, (k_at + keys * params.k_m) / UNIT);
          let scores = modified_scores(dots, head.slope, i32(n) + head.offset, mask_at + n * params.mask_n, keys);
          var weights = weights_of(within(scores, i32(r), row_band, vec4i(shuffled)), finished[r].largest);
          if (DROPOUT) {
            weights *= dropout_factors(shuffled_words(philox(vec4u(first_m / 4, lane_n + r, head.index, 0)), lane));
          }
          for (var i = 0u; i < 4 * vecs; i++) {
            let vec = r * V_VECS + i / 4;
            complete[vec] = add_weighted(complete[vec], weights[i % 4], load_v(value_rows[i % 4], i / 4));
          }
        }
      }
    }
  }

  let out_at = out_base(head);
  for (var r = 0u; r < ROWS && lane_n + r < params.n; r++) {
    let end = row_end(finished[r].largest, finished[r].sum, head.h);
    let row = (out_at + (lane_n + r) * params.out_n) / UNIT;
    for (var i = 0u; i < dv_vecs(); i++) {
      store_out(row, i, complete[r * V_VECS + i] * end.factor);
    }
    if (params.has_lse != 0) {
      lse[head.index * params.n + lane_n + r] = end.lse;
    }
  }
}
