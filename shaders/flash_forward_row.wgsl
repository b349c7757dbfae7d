enable subgroups;
// flash_forward_row: what flash_forward computes, for devices that run on the CPU: whole rows in one invocation, no workgroup memory, no barriers.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N]
//
// An invocation holds ROWS queries and their rows of out (unnormalised until the end). Four neighbours, a quad, take four keys a step: each
// loads one, and gets the other three by quad swaps, so that a loaded element feeds 4 · ROWS products. The x-th key that a lane meets is
// first_m + (lane ^ x): softmax and weights · v need no common order. Nothing depends on how wide a subgroup is.
// Compilers for the CPU keep an array fast where its indices are literals, and slow where they are variables: hence blocks of 16 elements,
// and lines in place of loops. SwiftShader, Chrome 143, 24 Nov 2026: 22 to 30 times as many products a second as with loops.
// Each vec4 of the four keys meets all rows before the next one is swapped: than block by block it takes lavapipe with 8 lanes 8% less time, and
// SwiftShader 3% (27 Nov 2026).
// A step's loads are in loops all the same, through arrays that stay in memory: each line that loads is dozens of branches to such a compiler. Lines
// took SwiftShader up to three times as long to compile, and ran no faster from D 64 on, 3 to 14% faster below (27 Nov 2026).
// Its twin on the CPU is src/reference/attention.ts, its test test/kernels/flash_forward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1.
// Parts: excluded, grid, dropout, key_length, logarithm, dot, softcap, mask4, forward, vec4, quad_step.

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
alias Scores = vec4f; // what softcapped takes at once
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other Q_UNIT, K_UNIT, load_q, load_k, load_v, store_out
const ROWS: u32 = 8; // queries an invocation: 1, 2, 4 or 8
const SCORE_MOD: bool = MASK > 0 || SOFTCAP || ALIBI; // constants, because a device on the CPU runs branches that nobody takes
const TILE_N: u32 = SIZE * ROWS; // queries a workgroup

alias Queries = array<vec4f, ROWS * WIDTH>; // [ROWS][WIDTH]
alias Sums = array<vec4f, ROWS * V_WIDTH>; // out, unnormalised: [ROWS][V_WIDTH]
alias Key = array<vec4f, WIDTH>;
alias Value = array<vec4f, V_WIDTH>;

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(4) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> heads: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<Q_UNIT>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

/// The scores of a query, at a position among the keys, against keys m, seen or not, from their dot products: scale → softcap → ALiBi → mask.
fn row_scores(dots: vec4f, slope: f32, position: i32, mask_row: u32, m: vec4u) -> vec4f {
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

/// The vec-th four elements of a row that begins at `row`, in UNITs; past its end the last one again, which meets a 0 in q, or goes to an element of
/// out that nobody stores.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn store_out(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.dv) { out[row + 4 * vec + c] = Q(value[c]); } } }

fn load_query(row: u32, vec: u32) -> vec4f {
  return select(vec4f(), load_q(row, vec) * params.scale_before, 4 * vec + vec4u(0, 1, 2, 3) < vec4u(params.d));
}

fn add_dots(sums: vec4f, query: vec4f, keys: Four) -> vec4f {
  return vec4f(add_dot(sums.x, query, keys.a), add_dot(sums.y, query, keys.b), add_dot(sums.z, query, keys.c), add_dot(sums.w, query, keys.d));
}

/// Adds one vec4's part of the dot products.
fn score_vec(s: ptr<function, array<vec4f, 8>>, queries: ptr<function, Queries>, vec: u32, key: ptr<function, Key>) {
  let keys = shuffle((*key)[vec]);
  (*s)[0] = add_dots((*s)[0], (*queries)[vec], keys);
  if (ROWS > 1) {
    (*s)[1] = add_dots((*s)[1], (*queries)[WIDTH + vec], keys);
  }
  if (ROWS > 2) {
    (*s)[2] = add_dots((*s)[2], (*queries)[2 * WIDTH + vec], keys);
    (*s)[3] = add_dots((*s)[3], (*queries)[3 * WIDTH + vec], keys);
  }
  if (ROWS > 4) {
    (*s)[4] = add_dots((*s)[4], (*queries)[4 * WIDTH + vec], keys);
    (*s)[5] = add_dots((*s)[5], (*queries)[5 * WIDTH + vec], keys);
    (*s)[6] = add_dots((*s)[6], (*queries)[6 * WIDTH + vec], keys);
    (*s)[7] = add_dots((*s)[7], (*queries)[7 * WIDTH + vec], keys);
  }
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

/// max, which is dozens of instructions to SwiftShader for the sake of NaN.
fn larger(a: f32, b: f32) -> f32 {
  return select(a, b, b > a);
}

fn with_scores(row: Row, s: vec4f) -> Row {
  let largest = larger(row.largest, larger(larger(s.x, s.y), larger(s.z, s.w)));
  let rescale = select(exp(row.largest - largest), 1.0, row.largest == largest); // where it stayed exactly 1, which exp(0) is not everywhere
  let w = weights_of(s, largest);
  return Row(largest, row.sum * rescale + w.x + w.y + w.z + w.w, rescale, w); // in the order of the products: what both lose by rounding cancels
}

/// What the first query of an invocation sees: keys first ≤ m < end that exist. Row r's band is r keys further on.
struct Band {
  first: i32,
  end: i32,
  length: i32, // keys that exist
}

/// Row r's scores of the keys m, LOWEST where it does not see them.
fn within(s: vec4f, r: i32, band: Band, m: vec4i) -> vec4f {
  if (!SKIP_ZEROS) {
    return s; // all are seen
  }
  return select(vec4f(LOWEST), s, (m >= vec4i(band.first + r)) & (m < vec4i(min(band.end + r, band.length))));
}

fn update_softmax(rows: ptr<function, array<Row, 8>>, s: ptr<function, array<vec4f, 8>>, factor: f32, band: Band, m: vec4i) {
  (*rows)[0] = with_scores((*rows)[0], within((*s)[0] * factor, 0, band, m));
  if (ROWS > 1) {
    (*rows)[1] = with_scores((*rows)[1], within((*s)[1] * factor, 1, band, m));
  }
  if (ROWS > 2) {
    (*rows)[2] = with_scores((*rows)[2], within((*s)[2] * factor, 2, band, m));
    (*rows)[3] = with_scores((*rows)[3], within((*s)[3] * factor, 3, band, m));
  }
  if (ROWS > 4) {
    (*rows)[4] = with_scores((*rows)[4], within((*s)[4] * factor, 4, band, m));
    (*rows)[5] = with_scores((*rows)[5], within((*s)[5] * factor, 5, band, m));
    (*rows)[6] = with_scores((*rows)[6], within((*s)[6] * factor, 6, band, m));
    (*rows)[7] = with_scores((*rows)[7], within((*s)[7] * factor, 7, band, m));
  }
}

/// What dropout leaves of a row's weights of the four keys that a lane meets from first_m on.
fn dropped(weights: vec4f, head: u32, n: u32, first_m: u32, lane: u32) -> vec4f {
  let words = philox(vec4u(first_m / 4, n, head, 0));
  let paired = select(words, words.yxwz, (lane & 1) != 0);
  let shuffled = select(paired, paired.zwxy, (lane & 2) != 0); // its x-th is words[lane ^ x]
  return select(weights * params.keep_factor, vec4f(), shuffled < vec4u(params.drop_below));
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
fn value_vec(sums: ptr<function, Sums>, rows: ptr<function, array<Row, 8>>, vec: u32, value: ptr<function, Value>, is_finite: bool) {
  let values = shuffle(select(vec4f(), (*value)[vec], is_finite));
  (*sums)[vec] = add_values((*sums)[vec], (*rows)[0].rescale, (*rows)[0].weights, values);
  if (ROWS > 1) {
    (*sums)[V_WIDTH + vec] = add_values((*sums)[V_WIDTH + vec], (*rows)[1].rescale, (*rows)[1].weights, values);
  }
  if (ROWS > 2) {
    (*sums)[2 * V_WIDTH + vec] = add_values((*sums)[2 * V_WIDTH + vec], (*rows)[2].rescale, (*rows)[2].weights, values);
    (*sums)[3 * V_WIDTH + vec] = add_values((*sums)[3 * V_WIDTH + vec], (*rows)[3].rescale, (*rows)[3].weights, values);
  }
  if (ROWS > 4) {
    (*sums)[4 * V_WIDTH + vec] = add_values((*sums)[4 * V_WIDTH + vec], (*rows)[4].rescale, (*rows)[4].weights, values);
    (*sums)[5 * V_WIDTH + vec] = add_values((*sums)[5 * V_WIDTH + vec], (*rows)[5].rescale, (*rows)[5].weights, values);
    (*sums)[6 * V_WIDTH + vec] = add_values((*sums)[6 * V_WIDTH + vec], (*rows)[6].rescale, (*rows)[6].weights, values);
    (*sums)[7 * V_WIDTH + vec] = add_values((*sums)[7 * V_WIDTH + vec], (*rows)[7].rescale, (*rows)[7].weights, values);
  }
}

fn score_block(s: ptr<function, array<vec4f, 8>>, queries: ptr<function, Queries>, block: u32, key: ptr<function, Key>) {
  score_vec(s, queries, 4 * block, key);
  score_vec(s, queries, 4 * block + 1, key);
  score_vec(s, queries, 4 * block + 2, key);
  score_vec(s, queries, 4 * block + 3, key);
}

fn value_block(sums: ptr<function, Sums>, rows: ptr<function, array<Row, 8>>, block: u32, value: ptr<function, Value>, is_finite: bool) {
  value_vec(sums, rows, 4 * block, value, is_finite);
  value_vec(sums, rows, 4 * block + 1, value, is_finite);
  value_vec(sums, rows, 4 * block + 2, value, is_finite);
  value_vec(sums, rows, 4 * block + 3, value, is_finite);
}

/// Up to four blocks of the dot products.
fn score_blocks(s: ptr<function, array<vec4f, 8>>, queries: ptr<function, Queries>, first: u32, key: ptr<function, Key>) {
  score_block(s, queries, first, key);
  if (D_BLOCKS > 1) {
    score_block(s, queries, first + 1, key);
  }
  if (D_BLOCKS > 2) {
    score_block(s, queries, first + 2, key);
    score_block(s, queries, first + 3, key);
  }
}

/// Up to four blocks of weights · v.
fn value_blocks(sums: ptr<function, Sums>, rows: ptr<function, array<Row, 8>>, first: u32, value: ptr<function, Value>, is_finite: bool) {
  value_block(sums, rows, first, value, is_finite);
  if (DV_BLOCKS > 1) {
    value_block(sums, rows, first + 1, value, is_finite);
  }
  if (DV_BLOCKS > 2) {
    value_block(sums, rows, first + 2, value, is_finite);
    value_block(sums, rows, first + 3, value, is_finite);
  }
}

fn add_dot_products(s: ptr<function, array<vec4f, 8>>, queries: ptr<function, Queries>, key: ptr<function, Key>) {
  score_blocks(s, queries, 0, key);
  if (D_BLOCKS > 4) {
    score_blocks(s, queries, 4, key);
  }
  if (D_BLOCKS > 8) {
    score_blocks(s, queries, 8, key);
    score_blocks(s, queries, 12, key);
  }
}

fn add_weighted_values(sums: ptr<function, Sums>, rows: ptr<function, array<Row, 8>>, value: ptr<function, Value>, is_finite: bool) {
  value_blocks(sums, rows, 0, value, is_finite);
  if (DV_BLOCKS > 4) {
    value_blocks(sums, rows, 4, value, is_finite);
  }
  if (DV_BLOCKS > 8) {
    value_blocks(sums, rows, 8, value, is_finite);
    value_blocks(sums, rows, 12, value, is_finite);
  }
}

/// Adds weight · v of one key; a weight of 0 skips v.
fn add_seen(sum: vec4f, weight: f32, value: vec4f) -> vec4f {
  return fma(vec4f(weight), select(value, vec4f(), weight == 0.0), sum);
}

/// A query's products with four keys, one by one.
fn dots_of(query: u32, keys: vec4u) -> vec4f {
  var dots = vec4f();
  for (var i = 0u; i < d_vecs(); i++) {
    let own = load_query(query, i);
    for (var x = 0u; x < 4; x++) {
      dots[x] = add_dot(dots[x], own, load_k(keys[x], i));
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
  let head = group.y; // b · H + h
  let b = head / params.heads;
  let h = head % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
  let own_n = first_n + index * ROWS; // the first of this invocation's queries
  let lane = index % 4;
  let length = key_length(b);
  let offset = select(params.causal_offset, i32(length) - i32(params.n), params.is_lower_right != 0);
  var slope = 0.0;
  if (params.has_alibi != 0) {
    slope = heads[params.heads_offset + h * params.heads_row];
  }
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let key_head = h * params.key_heads / params.heads;
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;
  let mask_base = params.mask_offset + b * params.mask_b + h * params.mask_h;

  // The keys that some query of the workgroup sees.
  let first_position = i32(first_n) + offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(length))) / 4 * 4;
  let end = u32(clamp(last_position + params.right + 1, 0, i32(length)));
  let band = Band(i32(own_n) + offset - params.left, i32(own_n) + offset + params.right + 1, i32(length));

  var loaded: Queries;
  for (var r = 0u; r < ROWS; r++) {
    let query_row = (q_base + min(own_n + r, params.n - 1) * params.q_n) / UNIT;
    for (var i = 0u; i < d_vecs(); i++) {
      loaded[r * WIDTH + i] = load_query(query_row, i);
    }
  }
  // Copies, here and below: an array that is indexed with a variable anywhere stays in memory everywhere.
  var queries = loaded;
  var sums: Sums;
  var rows: array<Row, 8>; // in memory, for a variable indexes it: SwiftShader takes 2% less time for that (28 Nov 2026)
  for (var i = 0u; i < ROWS; i++) {
    rows[i].largest = LOWEST;
  }
  var all_finite = true; // no value so far was infinite or NaN: else the loop below adds the steps again, one by one

  for (var first_m = begin; first_m < end; first_m += 4) {
    let shuffled = vec4u(first_m) + (vec4u(lane) ^ vec4u(0, 1, 2, 3)); // keys, this lane's own first
    let keys = min(shuffled, vec4u(length - 1)); // one that does not exist is not loaded: its place is taken by one that does, with weight 0
    var s = array<vec4f, 8>(); // [ROWS] against the four keys
    let key_row = (k_base + keys.x * params.k_m) / UNIT;
    var key: Key;
    for (var i = 0u; i < d_vecs(); i++) {
      key[i] = load_k(key_row, i);
    }
    add_dot_products(&s, &queries, &key);
    var seen = s;
    if (SCORE_MOD) {
      for (var r = 0u; r < ROWS; r++) {
        let n = min(own_n + r, params.n - 1);
        seen[r] = row_scores(seen[r], slope, i32(n) + offset, mask_base + n * params.mask_n, keys);
      }
    }
    update_softmax(&rows, &seen, select(params.scale_after, 1.0, SCORE_MOD), band, vec4i(shuffled));
    var kept = rows;
    if (DROPOUT) {
      for (var r = 0u; r < ROWS; r++) {
        kept[r].weights = dropped(kept[r].weights, head, own_n + r, first_m, lane);
      }
    }
    let value_row = (v_base + keys.x * params.v_m) / UNIT;
    var value: Value;
    var not_finite_bits = 0u;
    for (var i = 0u; i < dv_vecs(); i++) {
      let loaded_value = load_v(value_row, i);
      value[i] = loaded_value;
      if (SKIP_ZEROS) {
        not_finite_bits = not_finite_bits | not_finite(loaded_value);
      }
    }
    // Infinity times a weight of 0 is not 0: where a value is not finite, all four count as zeros here, and are added at the end.
    let is_finite = !SKIP_ZEROS || quad_or(not_finite_bits) == 0;
    all_finite = all_finite & is_finite;
    add_weighted_values(&sums, &kept, &value, is_finite);
  }

  var finished = rows;
  var complete = sums;
  if (SKIP_ZEROS) {
    for (var first_m = select(begin, end, all_finite); first_m < end; first_m += 4) {
      let shuffled = vec4u(first_m) + (vec4u(lane) ^ vec4u(0, 1, 2, 3));
      let keys = min(shuffled, vec4u(length - 1));
      let value_rows = (v_base + keys * params.v_m) / UNIT;
      let vecs = (params.dv + 3) / 4; // no const: lavapipe's compiler would unroll the loops, and crashes over so many f16 (Mesa 26.1)
      var not_finite_bits = 0u;
      for (var i = 0u; i < 4 * vecs; i++) {
        not_finite_bits = not_finite_bits | not_finite(load_v(value_rows[i % 4], i / 4));
      }
      if (not_finite_bits != 0) {
        for (var r = 0u; r < ROWS; r++) {
          let n = min(own_n + r, params.n - 1);
          let dots = dots_of((q_base + n * params.q_n) / UNIT, (k_base + keys * params.k_m) / UNIT);
          let scores = row_scores(dots, slope, i32(n) + offset, mask_base + n * params.mask_n, keys);
          var weights = weights_of(within(scores, i32(r), band, vec4i(shuffled)), finished[r].largest);
          if (DROPOUT) {
            weights = dropped(weights, head, own_n + r, first_m, lane);
          }
          for (var i = 0u; i < 4 * vecs; i++) {
            let vec = r * V_WIDTH + i / 4;
            complete[vec] = add_seen(complete[vec], weights[i % 4], load_v(value_rows[i % 4], i / 4));
          }
        }
      }
    }
  }

  let out_base = params.out_offset + b * params.out_b + h * params.out_h;
  for (var r = 0u; r < ROWS && own_n + r < params.n; r++) {
    var total = finished[r].sum;
    var largest = finished[r].largest;
    var factor = 1.0; // of out, before it is divided by the total
    if (params.has_sinks != 0) {
      let sink = heads[params.heads_offset + h * params.heads_row + params.heads_row - 1];
      largest = max(largest, sink);
      factor = exp(finished[r].largest - largest);
      total = total * factor + exp(sink - largest);
    }
    var normaliser = 0.0; // of a row that sees neither key nor sink
    var value = LOWEST;
    if (total > 0.0) {
      normaliser = factor / total;
      value = largest + logarithm(total);
    }
    let row = (out_base + (own_n + r) * params.out_n) / UNIT;
    for (var i = 0u; i < dv_vecs(); i++) {
      store_out(row, i, complete[r * V_WIDTH + i] * normaliser);
    }
    if (params.has_lse != 0) {
      lse[head * params.n + own_n + r] = value;
    }
  }
}
