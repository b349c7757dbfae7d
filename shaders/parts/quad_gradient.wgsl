// quad_gradient: the gradient of the scores of rows that lanes share.
// Parts: excluded, head, softcap_gradient, mask_visible.

const D_VECS: u32 = 4; // vec4 of a row of q and k that a lane holds; 4 · LANES · D_VECS ≥ D
const DV_VECS: u32 = 4; // vec4 of a row of v and gradient that a lane holds
const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter

/// Four elements of a row from d on. Past the row's end the last elements stand in for the missing ones: what an invocation holds is 0 there.
fn load_q(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.d - 1)); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_k(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.d - 1)); return vec4f(f32(k[e.x]), f32(k[e.y]), f32(k[e.z]), f32(k[e.w])); }
fn load_v(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.dv - 1)); return vec4f(f32(v[e.x]), f32(v[e.y]), f32(v[e.z]), f32(v[e.w])); }
fn load_gradient(row: u32, d: u32) -> vec4f { let e = row + min(vec4u(d, d + 1, d + 2, d + 3), vec4u(params.dv - 1)); return vec4f(f32(gradient[e.x]), f32(gradient[e.y]), f32(gradient[e.z]), f32(gradient[e.w])); }

/// A row's part that a lane holds, 0 past the row's end.
fn held(value: vec4f, d: u32, size: u32) -> vec4f {
  return select(vec4f(), value, d + vec4u(0, 1, 2, 3) < vec4u(size));
}

fn add_weighted(sum: vec4f, weight: f32, values: vec4f) -> vec4f {
  if (SKIP_ZEROS && weight == 0.0) {
    return sum;
  }
  return fma(vec4f(weight), values, sum);
}

/// What the gradients are made of, for one query and one key.
struct Weights {
  kept: f32, // P ∘ R
  gradient: f32, // dA
}

/// P ∘ R and dA of query n and key m, from q·k and dO·v. Exactly 0 where the query does not see the key.
/// @param row log-sum-exp and delta of the query @param factor dropout's
fn weights_of(dot: f32, product: f32, head: Head, n: u32, m: u32, row: vec2f, factor: f32) -> Weights {
  let position = i32(n) + head.offset;
  let is_visible = n < params.n && m < head.length && i32(m) <= position + params.right && i32(m) >= position - params.left;
  var s = dot * params.scale_after;
  var derivative = 1.0; // of the softcap
  if (params.softcap > 0.0) {
    let capped = softcapped(s);
    s = capped.s;
    derivative = capped.derivative;
  }
  s -= head.slope * f32(abs(position - i32(m)));
  if (params.mask_kind != 0) {
    s = masked_if_visible(s, is_visible, mask_row(head, n) + m * params.mask_m);
  }
  let weight = select(0.0, exp(s - row.x), is_visible && !is_excluded(s));
  return Weights(weight * factor, select(0.0, weight * (factor * product - row.y) * derivative, weight != 0.0));
}

/// The same where every query sees the key, and nothing changes scores or weights.
fn plain_weights_of(dot: f32, product: f32, row: vec2f) -> Weights {
  let s = dot * params.scale_after;
  let weight = select(exp(s - row.x), 0.0, s <= EXCLUDED);
  return Weights(weight, weight * (product - row.y));
}
