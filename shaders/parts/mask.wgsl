// mask: a score with the mask's element.
// Parts: excluded.

/// @param kind of the mask: 0: none, 1: boolean, 2: f32 added, 3: f16 added
fn masked(s: f32, kind: u32, index: u32) -> f32 {
  if (kind == 1) {
    let byte = (mask[index / 4] >> (8 * (index % 4))) & 0xff;
    return select(s, LOWEST, byte == 0);
  }
  if (kind == 2) {
    let bits = mask[index];
    return select(s + bitcast<f32>(bits), LOWEST, (bits >= EXCLUDES) & (bits <= MINUS_INFINITY));
  }
  if (kind == 3) {
    let bits = (mask[index / 2] >> (16 * (index % 2))) & 0xffff;
    return select(s + unpack2x16float(bits).x, LOWEST, (bits >= EXCLUDES_F16) & (bits <= MINUS_INFINITY_F16));
  }
  return s;
}
