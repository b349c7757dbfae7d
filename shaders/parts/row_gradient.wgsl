// row_gradient: rows of the backward kernels for software devices.

const IN_LINES: bool = MASK == 0 && !SOFTCAP && !ALIBI && !DROPOUT; // nothing but scores and their band decides about weights: a line a row, no loop

/// The vec-th four elements of a row that begins at `row`, in UNITs; past its end the last one again, which meets a 0 in what an invocation holds, or is
/// never stored.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_gradient(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.dv); return vec4f(f32(gradient[e.x]), f32(gradient[e.y]), f32(gradient[e.z]), f32(gradient[e.w])); }

/// Four elements of a row that an invocation holds: 0 from the row's end on.
fn held(loaded: vec4f, vec: u32, size: u32) -> vec4f {
  return select(vec4f(), loaded, 4 * vec + vec4u(0, 1, 2, 3) < vec4u(size));
}

alias Tile = array<vec4f, ROWS * WIDTH>; // [ROWS][WIDTH]
alias ValueTile = array<vec4f, ROWS * V_WIDTH>; // [ROWS][V_WIDTH]
alias Vector = array<vec4f, WIDTH>;
alias ValueVector = array<vec4f, V_WIDTH>;

fn add_dots(sums: vec4f, held: vec4f, shuffled: Four) -> vec4f {
  return vec4f(add_dot(sums.x, held, shuffled.a), add_dot(sums.y, held, shuffled.b), add_dot(sums.z, held, shuffled.c), add_dot(sums.w, held, shuffled.d));
}

/// Element by element, so that a compiler for the CPU keeps the sum in a register.
fn add_value(sum: f32, w: vec4f, a: f32, b: f32, c: f32, d: f32) -> f32 {
  return fma(w.w, d, fma(w.z, c, fma(w.y, b, fma(w.x, a, sum))));
}

fn add_values(sums: vec4f, w: vec4f, v: Four) -> vec4f {
  return vec4f(
    add_value(sums.x, w, v.a.x, v.b.x, v.c.x, v.d.x), add_value(sums.y, w, v.a.y, v.b.y, v.c.y, v.d.y),
    add_value(sums.z, w, v.a.z, v.b.z, v.c.z, v.d.z), add_value(sums.w, w, v.a.w, v.b.w, v.c.w, v.d.w));
}

/// Adds weight · value; a weight of 0 skips the value.
fn add_seen(sum: vec4f, weight: f32, value: vec4f) -> vec4f {
  return fma(vec4f(weight), select(value, vec4f(), weight == 0.0), sum);
}
