// enable
// flash_decode: what flash_forward computes, for few queries and many keys. The keys are split over workgroups, and query heads share them.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N];   with more than one split their parts: out [splits,B,H,N,Dv] unnormalised, lse [splits,2,B,H,N]: maxima, sums
//
// A row is one query of one of the H / Hk heads that read a key head. A workgroup computes ROWS rows over one split of the keys. Each key and value is
// loaded once for all rows. LANES neighbours, a slot, take KEYS keys a step and split the elements: of each 4 · LANES elements an invocation has 4.
// The parts of the dot products are summed in workgroup memory. With LANES = 1 there is nothing to sum, and no barrier in the loop.
// Every slot has a maximum, a sum and an out for each row. At the end the workgroup adds up its slots, and flash_merge adds up the splits.
// Sinks are counted here when there is one split, else in flash_merge.
// Loops over private arrays are written out where they cost: flash_forward_row says why. The loop over the keys has no branch that a const does not
// decide: SwiftShader computes both sides of a branch, and its compiler takes memory without end over tens of branches (Chrome 143, 24 Nov 2026).
// Its twin on the CPU is src/reference/attention.ts, its test test/kernels/flash_decode.test.ts.
// Source: T. Dao, D. Haziza, F. Massa, G. Sizov, Flash-Decoding for long-context inference, 2023.
// Parts: forward_bindings, grid, forward_head, head, band, excluded, dropout, dot, softcap, mask, ratio, vec4, row_end.

alias Q = f32; // storage of q
alias K = f32; // storage of k and v
alias Scores = f32; // the type of softcapped's argument: f32 or vec4f
alias O = f32; // storage of out: f32 with more than one split, else q's
alias O_UNIT = O; // with VEC4 vec4<O>: what out is an array of
const VEC4: bool = false; // offsets, strides, D and Dv are multiples of 4: other units, load_q, load_k, load_v, store_out
const SIZE: u32 = 4; // invocations a workgroup
const LANES: u32 = 1; // invocations a slot
const ROWS: u32 = 1; // rows a workgroup: 1, 2, 4 or 8
const KEYS: u32 = 1; // keys a slot takes a step: 1 or 4
const COLS: u32 = 4; // vec4 a block: 1, 2 or 4
const D_BLOCKS: u32 = 4; // blocks of q and k: 1, 2, 4, 8 or 16; 4 · COLS · LANES · D_BLOCKS ≥ D
const DV_BLOCKS: u32 = 4; // the same of v and out
const D_TAIL: bool = true; // false where q and k fill their blocks
const DV_TAIL: bool = true; // the same of v and out
const MASK: u32 = 1; // 0: none, 1: boolean, 2: f32 added, 3: f16 added
const SOFTCAP: bool = true; // these three may be true where there is none, at a cost
const ALIBI: bool = true;
const BAND: bool = true; // rows see different keys, or the last step of a slot may go beyond the last key
const SHARED_STEP: bool = LANES > 1 || KEYS > 1; // an invocation may have keys past the last one in its last step
const PLAIN: bool = MASK == 0 && !BAND; // every query sees every key of every step
const SLOTS: u32 = SIZE / LANES;
const TILE: u32 = KEYS * SLOTS; // keys a step
const HIGHEST: f32 = 3e38; // in place of the maximum where a sum is not finite: flash_merge then takes this split's
const KEY_ALIGNMENT: u32 = select(1, 4, DROPOUT); // the first key's index is a multiple of this

const_assert SIZE % LANES == 0 && (LANES == 1 || ROWS <= LANES);

@group(0) @binding(6) var<storage, read_write> out: array<O_UNIT>;

alias Dots = array<vec4f, ROWS>; // [ROWS] of a slot's keys
alias Queries = array<mat4x4f, ROWS * D_BLOCKS>; // [ROWS][D_BLOCKS]
alias Sums = array<mat4x4f, ROWS * DV_BLOCKS>; // out, unnormalised: [ROWS][DV_BLOCKS]
alias Rows = array<Row, ROWS>;
alias Positions = array<RowPosition, ROWS>;
alias Keys = array<mat4x4f, KEYS>; // a block of a slot's keys or values

var<workgroup> scratch: array<vec4f, SIZE * max(ROWS, COLS)>; // dot products: [ROWS][SIZE]; a block of out: [COLS][SIZE]
var<workgroup> dot_sums: array<vec4f, SLOTS * ROWS>; // [SLOTS][ROWS]
var<workgroup> stats: array<vec2f, SLOTS * ROWS>; // maximum and sum, [SLOTS][ROWS]

/// A row: a query of one of the heads that read the workgroup's key head.
struct RowPosition {
  n: u32,
  head: u32, // b · H + h
  position: i32, // among the keys
  mask_row: u32,
  slope: f32, // ALiBi's
}

/// The vec-th four elements of a row that begins at `row`, in UNITs. Past the row's end the last elements stand in for the missing ones: the products
/// with a missing element are 0, and out's are not stored.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn store_out(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.dv) { out[row + 4 * vec + c] = O(value[c]); } } }

/// The number of a vec4 in a row of whole vec4, at most the last. Without a tail every vec4 of a block exists.
fn inside(vec: u32, size: u32, has_tail: bool) -> u32 {
  return select(vec, min(vec, size / 4 - 1), has_tail);
}

/// An invocation's part of a block, from a vec4 on.
fn load_key(row: u32, vec: u32) -> mat4x4f {
  var block = mat4x4f();
  for (var i = 0u; i < COLS; i++) { block[i] = load_k(row, vec + LANES * i); } //! unroll
  return block;
}

fn load_value(row: u32, vec: u32) -> mat4x4f {
  var block = mat4x4f();
  for (var i = 0u; i < COLS; i++) { block[i] = load_v(row, vec + LANES * i); } //! unroll
  return block;
}

fn load_query(row: u32, first: u32) -> mat4x4f {
  var block = mat4x4f();
  for (var i = 0u; i < COLS; i++) {
    let vec = first + LANES * i;
    block[i] = select(load_q(row, vec) * params.scale_before, vec4f(), 4 * vec + vec4u(0, 1, 2, 3) >= vec4u(params.d));
  }
  return block;
}

fn add_block_dot(sum: f32, a: mat4x4f, b: mat4x4f) -> f32 {
  var total = sum;
  for (var i = 0u; i < COLS; i++) { total = add_dot(total, a[i], b[i]); } //! unroll
  return total;
}

fn add_dots(sums: vec4f, query: mat4x4f, keys: Keys) -> vec4f {
  var s = sums;
  for (var x = 0u; x < KEYS; x++) { s[x] = add_block_dot(s[x], query, keys[x]); } //! unroll
  return s;
}

/// Adds one block's part of the dot products.
fn score_block(s: ptr<function, Dots>, queries: ptr<function, Queries>, block: u32, rows: vec4u, lane: u32) {
  var keys: Keys;
  for (var x = 0u; x < KEYS; x++) { keys[x] = load_key(rows[x], COLS * LANES * block + lane); } //! unroll
  for (var r = 0u; r < ROWS; r++) { (*s)[r] = add_dots((*s)[r], (*queries)[r * D_BLOCKS + block], keys); } //! unroll
}

fn add_dot_products(s: ptr<function, Dots>, queries: ptr<function, Queries>, rows: vec4u, lane: u32) {
  for (var block = 0u; block < D_BLOCKS; block++) { score_block(s, queries, block, rows, lane); } //! unroll
}

/// What a row knows of the keys so far, and its weights of the last four.
struct Row {
  largest: f32,
  sum: f32, // of the weights
  rescale: f32, // what the largest's last step makes of sum and out
  weights: vec4f,
  included_bits: vec4u, // all bits where the key is not excluded
}

/// max without its rules for NaN, which cost SwiftShader dozens of instructions.
fn larger(a: f32, b: f32) -> f32 {
  return select(a, b, b > a);
}

fn with_scores(row: Row, s: vec4f) -> Row {
  var largest = larger(row.largest, s.x);
  if (KEYS > 1) {
    largest = larger(larger(largest, s.y), larger(s.z, s.w));
  }
  let rescale = ratio(row.largest, largest);
  let bits = select(vec4u(0xffffffff), vec4u(), are_excluded(s));
  var w = vec4f(select(exp(s.x - largest), 0.0, bits.x == 0), 0.0, 0.0, 0.0);
  var sum = row.sum * rescale + w.x; // in the order of the products: what both lose by rounding cancels
  if (KEYS > 1) {
    w = select(exp(s - largest), vec4f(), bits == vec4u());
    sum += w.y + w.z + w.w;
  }
  return Row(largest, sum, rescale, w, bits);
}

/// scale · q·k → softcap.
fn scaled(dot: f32) -> f32 {
  var s = dot * params.scale_after;
  if (SOFTCAP) {
    s = select(s, softcapped(s), params.softcap > 0.0);
  }
  return s;
}

/// The score of a row against key m, LOWEST where the row does not see the key.
fn score(dot: f32, at: RowPosition, m: u32, end: u32) -> f32 {
  var s = scaled(dot);
  if (ALIBI) {
    s -= at.slope * f32(abs(at.position - i32(m)));
  }
  var is_visible = true;
  if (SHARED_STEP) {
    is_visible = m < end;
  }
  if (BAND) {
    is_visible &= (i32(m) <= at.position + params.right) & (i32(m) >= at.position - params.left);
  }
  if (MASK > 0) {
    s = masked(s, MASK, at.mask_row + min(m, end - 1) * params.mask_m);
  }
  return select(LOWEST, s, is_visible);
}

/// The scores of a row against a slot's keys from first_m on.
fn scores(dots: vec4f, at: RowPosition, first_m: u32, end: u32) -> vec4f {
  var s = vec4f(score(dots.x, at, first_m, end), 0.0, 0.0, 0.0);
  if (KEYS > 1) {
    s.y = score(dots.y, at, first_m + 1, end);
    s.z = score(dots.z, at, first_m + 2, end);
    s.w = score(dots.w, at, first_m + 3, end);
  }
  return s;
}

/// Scores and weights of all rows.
fn update_softmax(rows: ptr<function, Rows>, s: ptr<function, Dots>, positions: ptr<function, Positions>, first_m: u32, end: u32) {
  for (var r = 0u; r < ROWS; r++) { (*rows)[r] = with_scores((*rows)[r], scores((*s)[r], (*positions)[r], first_m, end)); } //! unroll
}

/// What dropout leaves of a row's weights of a slot's keys from first_m on.
fn dropped(weights: vec4f, at: RowPosition, first_m: u32) -> vec4f {
  let words = philox(vec4u(first_m / 4, at.n, at.head, 0));
  return weights * dropout_factors(select(words, vec4u(words[first_m % 4]), KEYS == 1));
}

/// A value, zeros where its key is excluded. An excluded value may be anything.
fn unless_excluded(value: vec4f, bits: u32) -> vec4f {
  var result = value;
  if (!PLAIN) {
    result = bitcast<vec4f>(bitcast<vec4u>(value) & vec4u(bits));
  }
  return result;
}

fn add_value(sums: mat4x4f, weight: f32, bits: u32, value: mat4x4f) -> mat4x4f {
  var total = sums;
  for (var i = 0u; i < COLS; i++) { total[i] = fma(vec4f(weight), unless_excluded(value[i], bits), total[i]); } //! unroll
  return total;
}

fn add_values(sums: mat4x4f, row: Row, values: Keys) -> mat4x4f {
  var total = sums;
  for (var i = 0u; i < COLS; i++) { total[i] *= row.rescale; } //! unroll
  for (var x = 0u; x < KEYS; x++) { total = add_value(total, row.weights[x], row.included_bits[x], values[x]); } //! unroll
  return total;
}

/// Adds weights · v to one block of every row of out.
fn value_block(sums: ptr<function, Sums>, rows: ptr<function, Rows>, block: u32, at: vec4u, lane: u32) {
  var values: Keys;
  for (var x = 0u; x < KEYS; x++) { values[x] = load_value(at[x], COLS * LANES * block + lane); } //! unroll
  for (var r = 0u; r < ROWS; r++) { (*sums)[r * DV_BLOCKS + block] = add_values((*sums)[r * DV_BLOCKS + block], (*rows)[r], values); } //! unroll
}

fn add_weighted_values(sums: ptr<function, Sums>, rows: ptr<function, Rows>, at: vec4u, lane: u32) {
  for (var block = 0u; block < DV_BLOCKS; block++) { value_block(sums, rows, block, at, lane); } //! unroll
}

/// Where in a step the keys of a slot begin. With LANES > 1 src/kernels/flash_decode.ts replaces the line by 0: all invocations go through the barriers
/// of every step.
fn lead(slot: u32) -> u32 { return KEYS * slot; }
/// The dot products of a slot's keys. With LANES > 1 src/kernels/flash_decode.ts replaces the line by sum_over_lanes: WGSL wants no barrier in a loop
/// that invocations leave one by one.
fn sum_lanes(dots: Dots, index: u32) -> Dots { return dots; }

/// The keys' sums over the lanes of a slot. Lane r sums row r. With one row every lane sums it.
fn sum_over_lanes(dots: Dots, index: u32) -> Dots {
  var s = dots;
  let slot = index / LANES;
  workgroupBarrier(); // nobody reads the last step's any more
  for (var r = 0u; r < ROWS; r++) {
    scratch[r * SIZE + index] = s[r];
  }
  workgroupBarrier();
  let row = select(index % LANES, 0, ROWS == 1);
  var sum = vec4f();
  if (row < ROWS) {
    for (var lane = 0u; lane < LANES; lane++) {
      sum += scratch[row * SIZE + slot * LANES + lane];
    }
  }
  s[0] = sum;
  if (ROWS > 1) {
    if (row < ROWS) {
      dot_sums[slot * ROWS + row] = sum;
    }
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
      s[r] = dot_sums[slot * ROWS + r];
    }
  }
  return s;
}

fn group_rows() -> u32 {
  return params.heads / params.key_heads * params.n;
}

/// The i-th of the rows that share a key head. A row past the last one is the last one, and is not stored. @param first of the heads
fn position_of(first: Head, i: u32) -> RowPosition {
  let row = min(i, group_rows() - 1);
  let n = row % params.n;
  let head = sibling(first, row / params.n);
  return RowPosition(n, head.index, i32(n) + head.offset, mask_row(head, n), head.slope);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let pair = group.y / params.row_blocks;
  let first = head_of(pair / params.key_heads, pair % params.key_heads * (params.heads / params.key_heads)); // of the heads that read the key head
  let first_row = group.y % params.row_blocks * ROWS;
  let slot = index / LANES;
  let lane = select(0u, index % LANES, LANES > 1); // within the slot
  let q_at = q_base(first);
  let k_at = k_base(first);
  let v_at = v_base(first);

  // The keys that some query sees, in splits of whole steps. With dropout steps begin at multiples of 4, as its random words do.
  let band = band_of(first, 0, params.n);
  let aligned_begin = band.begin / KEY_ALIGNMENT * KEY_ALIGNMENT;
  let steps = (band.end - aligned_begin + TILE - 1) / TILE;
  let split_keys = (steps + params.splits - 1) / params.splits * TILE;
  let begin = aligned_begin + group.x * split_keys;
  let end = min(begin + split_keys, band.end);

  var loaded: Queries;
  for (var i = 0u; i < ROWS * D_BLOCKS; i++) {
    let row = min(first_row + i / D_BLOCKS, group_rows() - 1);
    let q_row = q_at + row / params.n * params.q_h + row % params.n * params.q_n;
    loaded[i] = load_query(q_row / UNIT, i % D_BLOCKS * COLS * LANES + lane);
  }
  // Copies, here and below: an array that is indexed with a variable anywhere stays in memory everywhere.
  var queries = loaded;
  var sums: Sums;
  var of_rows: Positions;
  for (var i = 0u; i < ROWS; i++) {
    of_rows[i] = position_of(first, first_row + i);
  }
  var positions = of_rows;
  var empty: Rows;
  for (var i = 0u; i < ROWS; i++) {
    empty[i].largest = LOWEST;
  }
  var rows = empty;

  for (var first_m = begin; first_m + lead(slot) < end; first_m += TILE) {
    let slot_m = first_m + KEYS * slot; // the first of the slot's keys. In place of a key past the end the last one is loaded, with weight 0
    let m = min(vec4u(slot_m, slot_m + 1, slot_m + 2, slot_m + 3), vec4u(end - 1));
    var s = Dots(); // against the slot's keys
    add_dot_products(&s, &queries, (k_at + m * params.k_m) / UNIT, lane);
    s = sum_lanes(s, index);
    update_softmax(&rows, &s, &positions, slot_m, end);
    if (DROPOUT) {
      var kept = rows;
      for (var r = 0u; r < ROWS; r++) {
        kept[r].weights = dropped(kept[r].weights, of_rows[r], slot_m);
      }
      rows = kept;
    }
    add_weighted_values(&sums, &rows, (v_at + m * params.v_m) / UNIT, lane);
  }

  // The slots' maxima and sums; then row by row, block by block, their parts of out.
  var finished = rows;
  var parts = sums;
  if (index % LANES == 0) {
    for (var r = 0u; r < ROWS; r++) {
      stats[slot * ROWS + r] = vec2f(finished[r].largest, finished[r].sum);
    }
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    let is_row = first_row + r < group_rows();
    var largest = LOWEST;
    for (var i = 0u; i < SLOTS; i++) {
      largest = max(largest, stats[i * ROWS + r].x);
    }
    var total = 0.0;
    for (var i = 0u; i < SLOTS; i++) {
      total += stats[i * ROWS + r].y * ratio(stats[i * ROWS + r].x, largest);
    }
    let slot_factor = ratio(finished[r].largest, largest); // of this slot's part of out
    let shared_row = min(first_row + r, group_rows() - 1); // of those that share the key head
    let n = shared_row % params.n;
    let head = sibling(first, shared_row / params.n);
    let row = head.index * params.n + n;
    var out_row = out_base(head) + n * params.out_n;
    var factor = 1.0;
    if (params.splits > 1) {
      out_row = (group.x * params.all_rows + row) * params.dv;
      if (is_row && index == 0) {
        lse[2 * group.x * params.all_rows + row] = select(HIGHEST, largest, (bitcast<u32>(total) << 1) < 0xff000000); // see HIGHEST
        lse[(2 * group.x + 1) * params.all_rows + row] = total;
      }
    } else {
      let end = row_end(largest, total, head.h);
      factor = end.factor;
      if (is_row && params.has_lse != 0 && index == 0) {
        lse[row] = end.lse;
      }
    }
    for (var block = 0u; block < DV_BLOCKS; block++) {
      let sums_of_block = parts[r * DV_BLOCKS + block];
      for (var i = 0u; i < COLS; i++) {
        scratch[i * SIZE + index] = sums_of_block[i] * slot_factor;
      }
      workgroupBarrier();
      for (var i = index; is_row && i < COLS * LANES; i += SIZE) {
        var sum = vec4f();
        for (var other = i % LANES; other < SIZE; other += LANES) {
          sum += scratch[i / LANES * SIZE + other];
        }
        store_out(out_row / UNIT, COLS * LANES * block + i, sum * factor);
      }
      workgroupBarrier();
    }
  }
}
