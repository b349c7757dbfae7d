// vec4: four elements of a row of k or v. With VEC4 specialize replaces the lines that load.

const UNIT: u32 = select(1, 4, VEC4); // elements in one item of a binding
fn load_k(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])); }
fn load_v(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.dv); return vec4f(f32(v[e.x]), f32(v[e.y]), f32(v[e.z]), f32(v[e.w])); }

fn elements(vec: u32, size: u32) -> vec4u {
  return min(4 * vec + vec4u(0, 1, 2, 3), vec4u(size - 1));
}
