// enable
// flash_decode: what flash_forward computes, for few queries and many keys: the keys are split over workgroups, and a key head's query heads share them.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N];   with more than one split their parts: out [splits,B,H,N,Dv] unnormalised, lse [splits,2,B,H,N]: maxima, sums
//
// A row is one query of one of the H / Hk heads that read a key head. A workgroup computes ROWS rows over one split of the keys: each key and value is
// loaded once for all of them. LANES neighbours, a slot, take four keys a step, and share their elements between them: of each 4 · LANES elements
// an invocation has 4. Their parts of the dot products are summed in workgroup memory (LANES = 1: there is nothing to sum, and no barrier in the loop).
// Every slot has its own maximum, sum and out of each row; at the end the workgroup adds up its slots, and flash_merge the splits.
// Sinks are counted here when there is one split, else in flash_merge.
// Indices of private arrays are literals where it counts: see flash_forward_row. The loop over the keys has no branch that is not decided by a const:
// SwiftShader computes both sides of one, and its compiler takes memory without end over tens of them (Chrome 143, 24 Nov 2026).
// Its twin on the CPU is src/reference/attention.ts, its test test/kernels/flash_decode.test.ts.
// Source: T. Dao, D. Haziza, F. Massa, G. Sizov, Flash-Decoding for long-context inference, 2023.
// Parts: excluded, grid, dropout, key_length, logarithm, softcap, forward, vec4.

alias Q = f32; // storage of q
alias K = f32; // storage of k and v
alias Scores = f32; // what softcapped takes at once
alias O = f32; // storage of out: f32 with more than one split, else q's
alias Q_UNIT = Q; // with VEC4 vec4<Q>: what the bindings are arrays of
alias O_UNIT = O;
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
const BAND: bool = true; // some rows see other keys than others, or slots share a step that may go beyond the last key
const SHARED_STEP: bool = LANES > 1 || KEYS > 1; // an invocation may have keys past the last one in its last step
const PLAIN: bool = MASK == 0 && !BAND; // every query sees every key of every step
const SLOTS: u32 = SIZE / LANES;
const TILE: u32 = KEYS * SLOTS; // keys a step
const LAST: u32 = ROWS - 1; // keeps literal indices of rows that are not there within their arrays
const BEGIN: u32 = select(1, 4, DROPOUT); // the first key's index is a multiple of this

const_assert SIZE % LANES == 0 && (LANES == 1 || ROWS <= LANES);

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(4) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> heads: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<O_UNIT>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> scratch: array<vec4f, SIZE * max(ROWS, COLS)>; // dot products: [ROWS][SIZE]; a block of out: [COLS][SIZE]
var<workgroup> dot_sums: array<vec4f, SLOTS * ROWS>; // [SLOTS][ROWS]
var<workgroup> stats: array<vec2f, SLOTS * ROWS>; // maximum and sum, [SLOTS][ROWS]

/// A row: a query of one of the heads that read the workgroup's key head.
struct Place {
  n: u32,
  head: u32, // b · H + h
  position: i32, // among the keys
  mask_row: u32,
  slope: f32, // ALiBi's
}

/// A score with the mask's element.
fn masked(s: f32, index: u32) -> f32 {
  var result = s;
  if (MASK == 1) {
    let byte = (mask[index / 4] >> (8 * (index % 4))) & 0xff;
    result = select(s, LOWEST, byte == 0);
  }
  if (MASK == 2) {
    let bits = mask[index];
    result = select(s + bitcast<f32>(bits), LOWEST, (bits >= EXCLUDES) & (bits <= MINUS_INFINITY));
  }
  if (MASK == 3) {
    let bits = (mask[index / 2] >> (16 * (index % 2))) & 0xffff;
    result = select(s + unpack2x16float(bits).x, LOWEST, (bits >= EXCLUDES_F16) & (bits <= MINUS_INFINITY_F16));
  }
  return result;
}

/// The vec-th four elements of a row that begins at `row`, in UNITs; past its end the last ones again, which meet a 0 in q, or go to elements of out that
/// nobody stores.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn store_out(row: u32, vec: u32, value: vec4f) { for (var c = 0u; c < 4; c++) { if (4 * vec + c < params.dv) { out[row + 4 * vec + c] = O(value[c]); } } }

/// The number of a vec4 in a row of whole ones; past its end, where it has one before its blocks', the last one.
fn inside(vec: u32, size: u32, has_tail: bool) -> u32 {
  return select(vec, min(vec, size / 4 - 1), has_tail);
}

/// An invocation's part of a block, from a vec4 on.
fn load_key(row: u32, vec: u32) -> mat4x4f {
  var block = mat4x4f(load_k(row, vec), vec4f(), vec4f(), vec4f());
  if (COLS > 1) {
    block[1] = load_k(row, vec + LANES);
  }
  if (COLS > 2) {
    block[2] = load_k(row, vec + 2 * LANES);
    block[3] = load_k(row, vec + 3 * LANES);
  }
  return block;
}

fn load_value(row: u32, vec: u32) -> mat4x4f {
  var block = mat4x4f(load_v(row, vec), vec4f(), vec4f(), vec4f());
  if (COLS > 1) {
    block[1] = load_v(row, vec + LANES);
  }
  if (COLS > 2) {
    block[2] = load_v(row, vec + 2 * LANES);
    block[3] = load_v(row, vec + 3 * LANES);
  }
  return block;
}

fn load_query(row: u32, vec: u32) -> mat4x4f {
  var block = mat4x4f();
  for (var i = 0u; i < COLS; i++) {
    let own = vec + LANES * i;
    block[i] = select(load_q(row, own) * params.scale_before, vec4f(), 4 * own + vec4u(0, 1, 2, 3) >= vec4u(params.d));
  }
  return block;
}

/// A block of four keys or values.
struct Four {
  a: mat4x4f,
  b: mat4x4f,
  c: mat4x4f,
  d: mat4x4f,
}

fn add_dot4(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

fn add_dot(sum: f32, a: mat4x4f, b: mat4x4f) -> f32 {
  var total = add_dot4(sum, a[0], b[0]);
  if (COLS > 1) {
    total = add_dot4(total, a[1], b[1]);
  }
  if (COLS > 2) {
    total = add_dot4(add_dot4(total, a[2], b[2]), a[3], b[3]);
  }
  return total;
}

fn add_dots(sums: vec4f, query: mat4x4f, keys: Four) -> vec4f {
  var s = sums;
  s.x = add_dot(s.x, query, keys.a);
  if (KEYS > 1) {
    s.y = add_dot(s.y, query, keys.b);
    s.z = add_dot(s.z, query, keys.c);
    s.w = add_dot(s.w, query, keys.d);
  }
  return s;
}

/// Adds one block's part of the dot products.
fn score_block(s: ptr<function, array<vec4f, ROWS>>, queries: ptr<function, array<mat4x4f, ROWS * D_BLOCKS>>, block: u32, keys: vec4u, lane: u32) {
  let vec = COLS * LANES * block + lane;
  var four = Four(load_key(keys.x, vec), mat4x4f(), mat4x4f(), mat4x4f());
  if (KEYS > 1) {
    four = Four(four.a, load_key(keys.y, vec), load_key(keys.z, vec), load_key(keys.w, vec));
  }
  (*s)[0] = add_dots((*s)[0], (*queries)[block], four);
  if (ROWS > 1) {
    (*s)[min(1, LAST)] = add_dots((*s)[min(1, LAST)], (*queries)[D_BLOCKS + block], four);
  }
  if (ROWS > 2) {
    (*s)[min(2, LAST)] = add_dots((*s)[min(2, LAST)], (*queries)[2 * D_BLOCKS + block], four);
    (*s)[min(3, LAST)] = add_dots((*s)[min(3, LAST)], (*queries)[3 * D_BLOCKS + block], four);
  }
  if (ROWS > 4) {
    (*s)[min(4, LAST)] = add_dots((*s)[min(4, LAST)], (*queries)[4 * D_BLOCKS + block], four);
    (*s)[min(5, LAST)] = add_dots((*s)[min(5, LAST)], (*queries)[5 * D_BLOCKS + block], four);
    (*s)[min(6, LAST)] = add_dots((*s)[min(6, LAST)], (*queries)[6 * D_BLOCKS + block], four);
    (*s)[min(7, LAST)] = add_dots((*s)[min(7, LAST)], (*queries)[7 * D_BLOCKS + block], four);
  }
}

/// What a row knows of the keys so far, and its weights of the last four.
struct Row {
  largest: f32,
  sum: f32, // of the weights
  rescale: f32, // what the largest's last step makes of sum and out
  weights: vec4f,
  seen: vec4u, // all bits where the key is not excluded
}

/// All bits where a score is not excluded.
fn seen_bits(s: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(s);
  return select(vec4u(0xffffffff), vec4u(), (bits >= vec4u(EXCLUDES)) & (bits <= vec4u(MINUS_INFINITY)));
}

/// exp(a − b), exactly 1 where they are equal, which exp(0) is not everywhere.
fn ratio(a: f32, b: f32) -> f32 {
  return select(exp(a - b), 1.0, a == b);
}

/// max, which is dozens of instructions to SwiftShader for the sake of NaN.
fn larger(a: f32, b: f32) -> f32 {
  return select(a, b, b > a);
}

fn with_scores(row: Row, s: vec4f) -> Row {
  var largest = larger(row.largest, s.x);
  if (KEYS > 1) {
    largest = larger(larger(largest, s.y), larger(s.z, s.w));
  }
  let rescale = ratio(row.largest, largest);
  let bits = seen_bits(s);
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

/// The score of a row against key m; what it does not see is LOWEST.
fn score(dot: f32, place: Place, m: u32, end: u32) -> f32 {
  var s = scaled(dot);
  if (ALIBI) {
    s -= place.slope * f32(abs(place.position - i32(m)));
  }
  var is_seen = true;
  if (SHARED_STEP) {
    is_seen = m < end;
  }
  if (BAND) {
    is_seen &= (i32(m) <= place.position + params.right) & (i32(m) >= place.position - params.left);
  }
  if (MASK > 0) {
    s = masked(s, place.mask_row + min(m, end - 1) * params.mask_m);
  }
  return select(LOWEST, s, is_seen);
}

/// The scores of a row against a slot's keys from first_m on.
fn scores(dots: vec4f, place: Place, first_m: u32, end: u32) -> vec4f {
  var s = vec4f(score(dots.x, place, first_m, end), 0.0, 0.0, 0.0);
  if (KEYS > 1) {
    s.y = score(dots.y, place, first_m + 1, end);
    s.z = score(dots.z, place, first_m + 2, end);
    s.w = score(dots.w, place, first_m + 3, end);
  }
  return s;
}

/// Scores and weights of all rows.
fn update_softmax(
  rows: ptr<function, array<Row, ROWS>>, s: ptr<function, array<vec4f, ROWS>>, places: ptr<function, array<Place, ROWS>>, first_m: u32, end: u32,
) {
  (*rows)[0] = with_scores((*rows)[0], scores((*s)[0], (*places)[0], first_m, end));
  if (ROWS > 1) {
    (*rows)[min(1, LAST)] = with_scores((*rows)[min(1, LAST)], scores((*s)[min(1, LAST)], (*places)[min(1, LAST)], first_m, end));
  }
  if (ROWS > 2) {
    (*rows)[min(2, LAST)] = with_scores((*rows)[min(2, LAST)], scores((*s)[min(2, LAST)], (*places)[min(2, LAST)], first_m, end));
    (*rows)[min(3, LAST)] = with_scores((*rows)[min(3, LAST)], scores((*s)[min(3, LAST)], (*places)[min(3, LAST)], first_m, end));
  }
  if (ROWS > 4) {
    (*rows)[min(4, LAST)] = with_scores((*rows)[min(4, LAST)], scores((*s)[min(4, LAST)], (*places)[min(4, LAST)], first_m, end));
    (*rows)[min(5, LAST)] = with_scores((*rows)[min(5, LAST)], scores((*s)[min(5, LAST)], (*places)[min(5, LAST)], first_m, end));
    (*rows)[min(6, LAST)] = with_scores((*rows)[min(6, LAST)], scores((*s)[min(6, LAST)], (*places)[min(6, LAST)], first_m, end));
    (*rows)[min(7, LAST)] = with_scores((*rows)[min(7, LAST)], scores((*s)[min(7, LAST)], (*places)[min(7, LAST)], first_m, end));
  }
}

/// What dropout leaves of a row's weights of a slot's keys from first_m on.
fn dropped(weights: vec4f, place: Place, first_m: u32) -> vec4f {
  let words = philox(vec4u(first_m / 4, place.n, place.head, 0));
  let own = select(words, vec4u(words[first_m % 4]), KEYS == 1);
  return select(weights * params.keep_factor, vec4f(), own < vec4u(params.drop_below));
}

/// A value; zeros where it is excluded: what lies there does not matter.
fn seen(value: vec4f, bits: u32) -> vec4f {
  var result = value;
  if (!PLAIN) {
    result = bitcast<vec4f>(bitcast<vec4u>(value) & vec4u(bits));
  }
  return result;
}

fn add_value(sum: vec4f, row: Row, a: vec4f, b: vec4f, c: vec4f, d: vec4f) -> vec4f {
  let w = row.weights;
  var total = fma(vec4f(w.x), seen(a, row.seen.x), sum);
  if (KEYS > 1) {
    total = fma(vec4f(w.y), seen(b, row.seen.y), total);
    total = fma(vec4f(w.w), seen(d, row.seen.w), fma(vec4f(w.z), seen(c, row.seen.z), total));
  }
  return total;
}

fn add_values(sums: mat4x4f, row: Row, v: Four) -> mat4x4f {
  var total = sums;
  total[0] = add_value(sums[0] * row.rescale, row, v.a[0], v.b[0], v.c[0], v.d[0]);
  if (COLS > 1) {
    total[1] = add_value(sums[1] * row.rescale, row, v.a[1], v.b[1], v.c[1], v.d[1]);
  }
  if (COLS > 2) {
    total[2] = add_value(sums[2] * row.rescale, row, v.a[2], v.b[2], v.c[2], v.d[2]);
    total[3] = add_value(sums[3] * row.rescale, row, v.a[3], v.b[3], v.c[3], v.d[3]);
  }
  return total;
}

/// Adds weights · v to one block of every row of out.
fn value_block(sums: ptr<function, array<mat4x4f, ROWS * DV_BLOCKS>>, rows: ptr<function, array<Row, ROWS>>, block: u32, at: vec4u, lane: u32) {
  let vec = COLS * LANES * block + lane;
  var values = Four(load_value(at.x, vec), mat4x4f(), mat4x4f(), mat4x4f());
  if (KEYS > 1) {
    values = Four(values.a, load_value(at.y, vec), load_value(at.z, vec), load_value(at.w, vec));
  }
  (*sums)[block] = add_values((*sums)[block], (*rows)[0], values);
  if (ROWS > 1) {
    (*sums)[DV_BLOCKS + block] = add_values((*sums)[DV_BLOCKS + block], (*rows)[min(1, LAST)], values);
  }
  if (ROWS > 2) {
    (*sums)[2 * DV_BLOCKS + block] = add_values((*sums)[2 * DV_BLOCKS + block], (*rows)[min(2, LAST)], values);
    (*sums)[3 * DV_BLOCKS + block] = add_values((*sums)[3 * DV_BLOCKS + block], (*rows)[min(3, LAST)], values);
  }
  if (ROWS > 4) {
    (*sums)[4 * DV_BLOCKS + block] = add_values((*sums)[4 * DV_BLOCKS + block], (*rows)[min(4, LAST)], values);
    (*sums)[5 * DV_BLOCKS + block] = add_values((*sums)[5 * DV_BLOCKS + block], (*rows)[min(5, LAST)], values);
    (*sums)[6 * DV_BLOCKS + block] = add_values((*sums)[6 * DV_BLOCKS + block], (*rows)[min(6, LAST)], values);
    (*sums)[7 * DV_BLOCKS + block] = add_values((*sums)[7 * DV_BLOCKS + block], (*rows)[min(7, LAST)], values);
  }
}

/// Up to four blocks of the dot products.
fn score_blocks(s: ptr<function, array<vec4f, ROWS>>, queries: ptr<function, array<mat4x4f, ROWS * D_BLOCKS>>, first: u32, keys: vec4u, lane: u32) {
  score_block(s, queries, first, keys, lane);
  if (D_BLOCKS > 1) {
    score_block(s, queries, first + 1, keys, lane);
  }
  if (D_BLOCKS > 2) {
    score_block(s, queries, first + 2, keys, lane);
    score_block(s, queries, first + 3, keys, lane);
  }
}

/// Up to four blocks of weights · v.
fn value_blocks(
  sums: ptr<function, array<mat4x4f, ROWS * DV_BLOCKS>>, rows: ptr<function, array<Row, ROWS>>, first: u32, at: vec4u, lane: u32) {
  value_block(sums, rows, first, at, lane);
  if (DV_BLOCKS > 1) {
    value_block(sums, rows, first + 1, at, lane);
  }
  if (DV_BLOCKS > 2) {
    value_block(sums, rows, first + 2, at, lane);
    value_block(sums, rows, first + 3, at, lane);
  }
}

fn add_dot_products(s: ptr<function, array<vec4f, ROWS>>, queries: ptr<function, array<mat4x4f, ROWS * D_BLOCKS>>, keys: vec4u, lane: u32) {
  score_blocks(s, queries, 0, keys, lane);
  if (D_BLOCKS > 4) {
    score_blocks(s, queries, 4, keys, lane);
  }
  if (D_BLOCKS > 8) {
    score_blocks(s, queries, 8, keys, lane);
    score_blocks(s, queries, 12, keys, lane);
  }
}

fn add_weighted_values(
  sums: ptr<function, array<mat4x4f, ROWS * DV_BLOCKS>>, rows: ptr<function, array<Row, ROWS>>, at: vec4u, lane: u32) {
  value_blocks(sums, rows, 0, at, lane);
  if (DV_BLOCKS > 4) {
    value_blocks(sums, rows, 4, at, lane);
  }
  if (DV_BLOCKS > 8) {
    value_blocks(sums, rows, 8, at, lane);
    value_blocks(sums, rows, 12, at, lane);
  }
}

/// Where in a step the keys of a slot begin. With LANES > 1 specialize makes it 0: all invocations meet at barriers in every step then.
fn lead(slot: u32) -> u32 { return KEYS * slot; }
/// The dot products of a slot's keys. With LANES > 1 specialize makes it sum_over_lanes: WGSL wants no barrier in a loop that invocations leave one by one.
fn sum_lanes(dots: array<vec4f, ROWS>, index: u32) -> array<vec4f, ROWS> { return dots; }

/// The keys' sums over the lanes of a slot: a lane a row, unless there is but one.
fn sum_over_lanes(dots: array<vec4f, ROWS>, index: u32) -> array<vec4f, ROWS> {
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

fn place_of(b: u32, h: u32, n: u32, offset: i32) -> Place {
  var slope = 0.0;
  if (params.has_alibi != 0) {
    slope = heads[params.heads_offset + h * params.heads_row];
  }
  let mask_row = params.mask_offset + b * params.mask_b + h * params.mask_h + n * params.mask_n;
  return Place(n, b * params.heads + h, i32(n) + offset, mask_row, slope);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) counts: vec3u, @builtin(local_invocation_index) index: u32) {
  let group = grid_place(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let pair = group.y / params.row_blocks;
  let b = pair / params.key_heads;
  let key_head = pair % params.key_heads;
  let first_row = group.y % params.row_blocks * ROWS;
  let first_head = key_head * (params.heads / params.key_heads);
  let slot = index / LANES;
  var lane = 0u; // among those of the slot
  if (LANES > 1) {
    lane = index % LANES;
  }
  let length = key_length(b);
  let offset = select(params.causal_offset, i32(length) - i32(params.n), params.is_lower_right != 0);
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The keys that some query sees, in splits of whole steps. With dropout steps begin at multiples of 4, as its random words do.
  let seen_begin = u32(clamp(offset - params.left, 0, i32(length))) / BEGIN * BEGIN;
  let seen_end = u32(clamp(i32(params.n) + offset + params.right, 0, i32(length)));
  let steps = (max(seen_end, seen_begin) - seen_begin + TILE - 1) / TILE;
  let split_keys = (steps + params.splits - 1) / params.splits * TILE;
  let begin = seen_begin + group.x * split_keys;
  let end = min(begin + split_keys, seen_end);

  var loaded: array<mat4x4f, ROWS * D_BLOCKS>; // [ROWS][D_BLOCKS]
  for (var i = 0u; i < ROWS * D_BLOCKS; i++) {
    let row = min(first_row + i / D_BLOCKS, group_rows() - 1);
    let q_row = params.q_offset + b * params.q_b + (first_head + row / params.n) * params.q_h + row % params.n * params.q_n;
    loaded[i] = load_query(q_row / UNIT, i % D_BLOCKS * COLS * LANES + lane);
  }
  // Copies, here and below: an array that is indexed with a variable anywhere stays in memory everywhere.
  var queries = loaded;
  var sums: array<mat4x4f, ROWS * DV_BLOCKS>; // out, unnormalised: [ROWS][DV_BLOCKS]
  var of_rows: array<Place, ROWS>;
  for (var i = 0u; i < ROWS; i++) {
    let row = min(first_row + i, group_rows() - 1); // past the last one it again, which nobody stores
    of_rows[i] = place_of(b, first_head + row / params.n, row % params.n, offset);
  }
  var places = of_rows;
  var unseen: array<Row, ROWS>;
  for (var i = 0u; i < ROWS; i++) {
    unseen[i].largest = LOWEST;
  }
  var rows = unseen;

  for (var first_m = begin; first_m + lead(slot) < end; first_m += TILE) {
    let own_m = first_m + KEYS * slot; // the first of the slot's keys; those past the end are not loaded: the last one takes their place, with weight 0
    let m = min(vec4u(own_m, own_m + 1, own_m + 2, own_m + 3), vec4u(end - 1));
    var s = array<vec4f, ROWS>(); // [ROWS] against the slot's keys
    add_dot_products(&s, &queries, (k_base + m * params.k_m) / UNIT, lane);
    s = sum_lanes(s, index);
    update_softmax(&rows, &s, &places, own_m, end);
    if (DROPOUT) {
      var kept = rows;
      for (var r = 0u; r < ROWS; r++) {
        kept[r].weights = dropped(kept[r].weights, of_rows[r], own_m);
      }
      rows = kept;
    }
    add_weighted_values(&sums, &rows, (v_base + m * params.v_m) / UNIT, lane);
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
    let own_factor = ratio(finished[r].largest, largest); // of this slot's part of out
    let h = first_head + (first_row + r) / params.n;
    let n = (first_row + r) % params.n;
    let row = (b * params.heads + h) * params.n + n;
    var out_row = params.out_offset + b * params.out_b + h * params.out_h + n * params.out_n;
    var normaliser = 1.0;
    if (params.splits > 1) {
      out_row = (group.x * params.all_rows + row) * params.dv;
      if (is_row && index == 0) {
        lse[2 * group.x * params.all_rows + row] = largest;
        lse[(2 * group.x + 1) * params.all_rows + row] = total;
      }
    } else {
      var factor = 1.0;
      if (params.has_sinks != 0) {
        let sink = heads[params.heads_offset + h * params.heads_row + params.heads_row - 1];
        let with_sink = max(largest, sink);
        factor = ratio(largest, with_sink);
        total = total * factor + ratio(sink, with_sink);
        largest = with_sink;
      }
      normaliser = 0.0; // of a row that sees neither key nor sink
      var value = LOWEST;
      if (total > 0.0) {
        normaliser = factor / total;
        value = largest + logarithm(total);
      }
      if (is_row && params.has_lse != 0 && index == 0) {
        lse[row] = value;
      }
    }
    for (var block = 0u; block < DV_BLOCKS; block++) {
      let own = parts[r * DV_BLOCKS + block];
      for (var i = 0u; i < COLS; i++) {
        scratch[i * SIZE + index] = own[i] * own_factor;
      }
      workgroupBarrier();
      for (var i = index; is_row && i < COLS * LANES; i += SIZE) {
        var sum = vec4f();
        for (var other = i % LANES; other < SIZE; other += LANES) {
          sum += scratch[i / LANES * SIZE + other];
        }
        store_out(out_row / UNIT, COLS * LANES * block + i, sum * normaliser);
      }
      workgroupBarrier();
    }
  }
}
