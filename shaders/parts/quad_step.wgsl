// quad_step: four keys a step, which the lanes of a quad exchange.

const SIZE: u32 = 8; // invocations a workgroup
const_assert SIZE % 4 == 0;
alias Q_UNIT = Q; // with VEC4 vec4<Q>, or vec2u for f16: what the bindings are arrays of
const D_BLOCKS: u32 = 4; // blocks of 16 elements of q and k: 1, 2, 4, 8 or 16; 16 · D_BLOCKS ≥ D
const DV_BLOCKS: u32 = 4; // the same of v and out
const D_TAIL: bool = true; // false where D = 16 · D_BLOCKS: a loop over a row's vec4 then knows how many there are
const DV_TAIL: bool = true; // the same of Dv
const SOFTCAP: bool = true; // these two may be true where there is none, at a cost
const ALIBI: bool = true;
const SKIP_ZEROS: bool = true; // for problems that exclude elements: bands are compared, and a weight of 0 skips its value, whatever lies there
const WIDTH: u32 = 4 * D_BLOCKS; // vec4 that a row of q or k takes up here, and one of v or out
const V_WIDTH: u32 = 4 * DV_BLOCKS;

/// How many vec4 a row of q or k has.
fn d_vecs() -> u32 {
  return select(WIDTH, (params.d + 3) / 4, D_TAIL);
}

fn dv_vecs() -> u32 {
  return select(V_WIDTH, (params.dv + 3) / 4, DV_TAIL);
}

/// Four elements of each of the four keys or values that a lane meets, in its order.
struct Four {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

fn shuffle(own: vec4f) -> Four {
  let b = quadSwapX(own);
  return Four(own, b, quadSwapY(own), quadSwapY(b));
}

/// Not 0 where one of four elements is infinite or no number.
fn not_finite(value: vec4f) -> u32 {
  return u32(any((bitcast<vec4u>(value) & vec4u(0x7f800000)) == vec4u(0x7f800000)));
}

/// The bits of all four lanes, in each of them.
fn quad_or(bits: u32) -> u32 {
  let two = bits | quadSwapX(bits);
  return two | quadSwapY(two);
}
