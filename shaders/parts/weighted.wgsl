// weighted: weights · values, where excluded values may be anything.

const SKIP_ZEROS: bool = true; // a weight of 0 skips its value: for problems that exclude elements, so that what lies there does not matter

fn add_weighted(sum: vec4f, weight: f32, values: vec4f) -> vec4f {
  var result = fma(vec4f(weight), values, sum);
  if (SKIP_ZEROS) {
    result = select(result, sum, weight == 0.0);
  }
  return result;
}

fn add_weighted_products(sums: mat4x4f, weights: vec4f, values: vec4f) -> mat4x4f {
  return mat4x4f(
    add_weighted(sums[0], weights.x, values), add_weighted(sums[1], weights.y, values),
    add_weighted(sums[2], weights.z, values), add_weighted(sums[3], weights.w, values));
}
