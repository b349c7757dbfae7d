// quad_gradient: what lanes hold of a row in the backward kernels.

const D_VECS: u32 = 4; // vec4 of a row of q and k that a lane holds; 4 · LANES · D_VECS ≥ D
const DV_VECS: u32 = 4; // the same of v and gradient
const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter

/// Four elements of a row from d on; past the row's end its last ones again, which meet a 0 in what an invocation holds, or are never stored.
fn load_q(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.d - 1)); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_k(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.d - 1)); return vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])); }
fn load_v(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.dv - 1)); return vec4f(f32(v[e.x]), f32(v[e.y]), f32(v[e.z]), f32(v[e.w])); }
fn load_gradient(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.dv - 1)); return vec4f(f32(gradient[e.x]), f32(gradient[e.y]), f32(gradient[e.z]), f32(gradient[e.w])); }

/// A row's part that a lane holds, 0 past the row's end.
fn inside(value: vec4f, d: u32, size: u32) -> vec4f {
  return select(vec4f(), value, d + vec4u(0, 1, 2, 3) < vec4u(size));
}

fn add_weighted(sum: vec4f, weight: f32, values: vec4f) -> vec4f {
  if (SKIP_ZEROS && weight == 0.0) {
    return sum;
  }
  return fma(vec4f(weight), values, sum);
}
