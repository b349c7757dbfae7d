// load: one element of q, k or v; 0 past the end of its row or of the rows.

const STEP: u32 = 16; // elements of a head that are in workgroup memory at a time

fn load_q(base: u32, n: u32, d: u32) -> f32 {
  let element = q[base + min(n, params.n - 1) * params.q_n + min(d, params.d - 1)];
  return select(0.0, f32(element) * params.scale_before, (n < params.n) & (d < params.d));
}

fn load_k(base: u32, m: u32, d: u32, length: u32) -> f32 {
  let element = k[base + min(m, length - 1) * params.k_m + min(d, params.d - 1)];
  return select(0.0, f32(element), (m < length) & (d < params.d));
}

fn load_v(base: u32, m: u32, e: u32, length: u32) -> f32 {
  let element = v[base + min(m, length - 1) * params.v_m + min(e, params.dv - 1)];
  return select(0.0, f32(element), (m < length) & (e < params.dv));
}
