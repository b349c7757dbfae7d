// quad_step: rows that an invocation holds whole, and the four others of a step: keys, or queries in dkv. Each lane of a quad loads one of the four.
// Parts: dot.

const SIZE: u32 = 8; // invocations a workgroup
const_assert SIZE % 4 == 0;
const D_BLOCKS: u32 = 4; // blocks of 16 elements of q and k: 1, 2, 4, 8 or 16; 16 · D_BLOCKS ≥ D
const DV_BLOCKS: u32 = 4; // blocks of 16 elements of v and out
const D_TAIL: bool = true; // false where D = 16 · D_BLOCKS: a loop over a row's vec4 then knows how many there are
const DV_TAIL: bool = true; // false where Dv = 16 · DV_BLOCKS
const SOFTCAP: bool = true; // these two may be true where there is none, at a cost
const ALIBI: bool = true;
const SKIP_ZEROS: bool = true; // for problems that exclude elements: bands are compared, and a weight of 0 skips its value, whatever lies there
const VECS: u32 = 4 * D_BLOCKS; // vec4 that a row of q or k takes up here, and one of v or out
const V_VECS: u32 = 4 * DV_BLOCKS;

/// How many vec4 a row of q or k has.
fn d_vecs() -> u32 {
  return select(VECS, (params.d + 3) / 4, D_TAIL);
}

fn dv_vecs() -> u32 {
  return select(V_VECS, (params.dv + 3) / 4, DV_TAIL);
}

/// Four elements of each of the four others, in the lane's order: its x-th comes from lane ^ x.
struct Four {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

fn shuffle(value: vec4f) -> Four {
  let b = quadSwapX(value);
  return Four(value, b, quadSwapY(value), quadSwapY(b));
}

/// Numbers of the four others of a step, in the lane's order.
fn shuffled_from(first: u32, lane: u32) -> vec4u {
  return vec4u(first) + (vec4u(lane) ^ vec4u(0, 1, 2, 3));
}

/// Four elements of a row that an invocation holds: 0 past the row's end.
fn held(loaded: vec4f, vec: u32, size: u32) -> vec4f {
  return select(vec4f(), loaded, 4 * vec + vec4u(0, 1, 2, 3) < vec4u(size));
}

fn add_dots(sums: vec4f, row: vec4f, others: Four) -> vec4f {
  return vec4f(add_dot(sums.x, row, others.a), add_dot(sums.y, row, others.b), add_dot(sums.z, row, others.c), add_dot(sums.w, row, others.d));
}

/// Adds weight · value. A weight of 0 skips the value.
fn add_weighted(sum: vec4f, weight: f32, value: vec4f) -> vec4f {
  return fma(vec4f(weight), select(value, vec4f(), weight == 0.0), sum);
}

/// Dropout's random words of four keys from a multiple of 4 on, in the lane's order.
fn shuffled_words(words: vec4u, lane: u32) -> vec4u {
  let paired = select(words, words.yxwz, (lane & 1) != 0);
  return select(paired, paired.zwxy, (lane & 2) != 0);
}

/// Not 0 where one of four elements is infinite or no number.
fn not_finite(value: vec4f) -> u32 {
  return u32(any((bitcast<vec4u>(value) & vec4u(0x7f800000)) == vec4u(0x7f800000)));
}

/// The bits of all four lanes, by or.
fn quad_or(bits: u32) -> u32 {
  let two = bits | quadSwapX(bits);
  return two | quadSwapY(two);
}
