// tile_gradients: the gradient of the scores that a workgroup keeps in its memory, 4 × 4 of them an invocation.
// Parts: excluded, head, backward_head, band, tile_products, softcap_gradient, mask_visible, dropout.

fn load_gradient(base: u32, n: u32, e: u32) -> f32 {
  let element = gradient[base + min(n, params.n - 1) * params.gradient_n + min(e, params.dv - 1)];
  return select(0.0, f32(element), (n < params.n) & (e < params.dv));
}

/// dO vᵀ of a block of 4 queries × 4 keys, in tiles that begin at first_n and first_m.
fn tile_value_products(head: Head, first_n: u32, first_m: u32, block_n: u32, block_m: u32, lane: u32) -> mat4x4f {
  let g_at = gradient_base(head);
  let v_at = v_base(head);
  var g = mat4x4f();
  for (var first_e = 0u; first_e < params.dv; first_e += STEP) {
    for (var i = lane; i < STEP * BLOCKS_N; i += SIZE) {
      let e = first_e + i % STEP;
      let n = first_n + 4 * (i / STEP);
      tile[(i % STEP) * BLOCKS_N + i / STEP] =
        vec4f(load_gradient(g_at, n, e), load_gradient(g_at, n + 1, e), load_gradient(g_at, n + 2, e), load_gradient(g_at, n + 3, e));
    }
    for (var i = lane; i < STEP * BLOCKS_M; i += SIZE) {
      let e = first_e + i % STEP;
      let m = first_m + 4 * (i / STEP);
      tile[STEP * BLOCKS_N + (i % STEP) * BLOCKS_M + i / STEP] = vec4f(
        load_v(v_at, m, e, head.length), load_v(v_at, m + 1, e, head.length), load_v(v_at, m + 2, e, head.length), load_v(v_at, m + 3, e, head.length));
    }
    g = add_tile(g, block_n, block_m);
  }
  return g;
}

/// What the gradients are made of, for one query and four keys.
struct Weights {
  kept: vec4f, // P ∘ R
  ds: vec4f,
  da: vec4f,
}

/// P ∘ R, dS and dA of query n for four keys from first_m on, from q kᵀ and dO vᵀ. Exactly 0 where the query does not see the key.
fn weights_of(dots: vec4f, products: vec4f, head: Head, n: u32, first_m: u32) -> Weights {
  let row = row_of(head, n);
  let m = first_m + vec4u(0, 1, 2, 3);
  let is_visible = vec4<bool>(n < params.n) & are_visible(head, n, m);
  var s = dots * params.scale_after;
  var derivative = vec4f(1.0); // of the softcap
  if (params.softcap > 0.0) {
    let capped = softcapped(s);
    s = capped.s;
    derivative = capped.derivative;
  }
  s -= head.slope * vec4f(abs(i32(n) + head.offset - vec4i(m)));
  if (params.mask_kind != 0) {
    let first = mask_row(head, n);
    var rotated = is_visible;
    for (var j = 0u; j < 4; j++) { // each score in turn is the first
      s = vec4f(s.yzw, masked_if_visible(s.x, rotated.x, first + (first_m + j) * params.mask_m));
      rotated = rotated.yzwx;
    }
  }
  let weights = select(vec4f(), exp(s - row.x), is_visible & !are_excluded(s));
  var factors = vec4f(1.0); // dropout's
  if (DROPOUT) {
    factors = dropout_factors(philox(vec4u(first_m / 4, n, head.index, 0)));
  }
  let gradients = select(vec4f(), weights * (factors * products - row.y), weights != vec4f());
  return Weights(weights * factors, gradients, gradients * derivative);
}
