// excluded: scores that do not count, told by their bits.

const LOWEST: f32 = -3.4028234663852886e38; // the lowest finite f32
const EXCLUDED: f32 = -3e38; // a score from here down is excluded
const EXCLUDES: u32 = 0xff61b1e6; // the bits of −3e38: an additive mask from here down to −∞ excludes
const MINUS_INFINITY: u32 = 0xff800000;
const EXCLUDES_F16: u32 = 0xfbff; // the bits of an f16 mask that excludes: −65504 to −∞
const MINUS_INFINITY_F16: u32 = 0xfc00;

/// Which of four scores are excluded. By their bits, because NaN is not excluded.
fn are_excluded(s: vec4f) -> vec4<bool> {
  let bits = bitcast<vec4u>(s);
  return (bits >= vec4u(EXCLUDES)) & (bits <= vec4u(MINUS_INFINITY));
}

fn is_excluded(s: f32) -> bool {
  let bits = bitcast<u32>(s);
  return (bits >= EXCLUDES) & (bits <= MINUS_INFINITY);
}
