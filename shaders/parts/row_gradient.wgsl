// row_gradient: the gradient of the scores of rows that an invocation holds whole.
// Parts: excluded, head, quad_step, mask4, softcap_gradient, dropout.

const IN_LINES: bool = MASK == 0 && !SOFTCAP && !ALIBI && !DROPOUT; // nothing but scores and their band decides about weights: no loop over the rows
alias Tile = array<vec4f, ROWS * VECS>; // [ROWS][VECS]
alias ValueTile = array<vec4f, ROWS * V_VECS>; // [ROWS][V_VECS]
alias Vector = array<vec4f, VECS>;
alias ValueVector = array<vec4f, V_VECS>;
alias Rows = array<vec4f, ROWS>; // numbers of the rows for four others

/// The vec-th four elements of a row that begins at `row`, in UNITs. Past the row's end the last element stands in for the missing ones: what an
/// invocation holds is 0 there.
fn load_q(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.d); return vec4f(f32(q[e.x]), f32(q[e.y]), f32(q[e.z]), f32(q[e.w])); }
fn load_gradient(row: u32, vec: u32) -> vec4f { let e = row + elements(vec, params.dv); return vec4f(f32(gradient[e.x]), f32(gradient[e.y]), f32(gradient[e.z]), f32(gradient[e.w])); }

/// Adds q kᵀ of the rows and the four others of a step, of which the lane has one.
fn add_scores(sums: ptr<function, Rows>, tile: ptr<function, Tile>, vector: ptr<function, Vector>) {
  for (var vec = 0u; vec < VECS; vec++) { add_scores_vec(sums, tile, shuffle((*vector)[vec]), vec); } //! unroll
}

fn add_scores_vec(sums: ptr<function, Rows>, tile: ptr<function, Tile>, four: Four, vec: u32) {
  for (var r = 0u; r < ROWS; r++) { (*sums)[r] = add_dots((*sums)[r], (*tile)[r * VECS + vec], four); } //! unroll
}

/// Adds dO vᵀ of the rows and the four others.
fn add_products(sums: ptr<function, Rows>, tile: ptr<function, ValueTile>, vector: ptr<function, ValueVector>) {
  for (var vec = 0u; vec < V_VECS; vec++) { add_products_vec(sums, tile, shuffle((*vector)[vec]), vec); } //! unroll
}

fn add_products_vec(sums: ptr<function, Rows>, tile: ptr<function, ValueTile>, four: Four, vec: u32) {
  for (var r = 0u; r < ROWS; r++) { (*sums)[r] = add_dots((*sums)[r], (*tile)[r * V_VECS + vec], four); } //! unroll
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

/// What the gradients are made of, for one row and four others.
struct Weights {
  kept: vec4f, // P ∘ R
  gradient: vec4f, // dA
}

/// P ∘ R and dA of queries n and keys m, from q kᵀ and dO vᵀ. Exactly 0 where the query does not see the key.
/// @param lse log-sum-exp of the queries @param delta of the queries @param factors dropout's
fn weights_of(dots: vec4f, products: vec4f, head: Head, n: vec4u, m: vec4u, lse: vec4f, delta: vec4f, factors: vec4f) -> Weights {
  let position = vec4i(n) + head.offset;
  let is_visible = (n < vec4u(params.n)) & (m < vec4u(head.length)) & (vec4i(m) <= position + params.right) & (vec4i(m) >= position - params.left);
  var s = dots * params.scale_after;
  var derivative = vec4f(1.0); // of the softcap
  if (SOFTCAP) {
    let capped = softcapped(s);
    s = select(s, capped.s, params.softcap > 0.0);
    derivative = select(derivative, capped.derivative, params.softcap > 0.0);
  }
  if (ALIBI) {
    s -= head.slope * vec4f(abs(position - vec4i(m)));
  }
  if (MASK > 0) {
    let element = mask_row(head, 0) + n * params.mask_n + m * params.mask_m;
    s = masked(s, select(vec4u(params.mask_offset), element, is_visible)); // the first element where there may be none
  }
  var weights = select(exp(s - lse), vec4f(), s <= vec4f(EXCLUDED));
  if (SKIP_ZEROS) {
    weights = select(vec4f(), weights, is_visible);
  }
  let gradients = weights * (factors * products - delta) * derivative;
  return Weights(weights * factors, select(gradients, vec4f(), vec4<bool>(SKIP_ZEROS) & (weights == vec4f())));
}
