// mask4: four scores with the mask's elements. The kind of the mask is a constant.
// Parts: excluded.

const MASK: u32 = 1; // 0: none, 1: boolean, 2: f32 added, 3: f16 added

/// Four scores with the mask's elements.
fn masked(s: vec4f, index: vec4u) -> vec4f {
  let at = index / select(select(1u, 2u, MASK == 3), 4u, MASK == 1); // a word has 4 elements, 2 or 1
  let words = vec4u(mask[at.x], mask[at.y], mask[at.z], mask[at.w]);
  if (MASK == 1) {
    return select(s, vec4f(LOWEST), ((words >> (8 * (index % 4))) & vec4u(0xff)) == vec4u());
  }
  if (MASK == 2) {
    return select(s + bitcast<vec4f>(words), vec4f(LOWEST), (words >= vec4u(EXCLUDES)) & (words <= vec4u(MINUS_INFINITY)));
  }
  let bits = (words >> (16 * (index % 2))) & vec4u(0xffff);
  let bias = vec4f(unpack2x16float(bits.x).x, unpack2x16float(bits.y).x, unpack2x16float(bits.z).x, unpack2x16float(bits.w).x);
  return select(s + bias, vec4f(LOWEST), (bits >= vec4u(EXCLUDES_F16)) & (bits <= vec4u(MINUS_INFINITY_F16)));
}
