// block: 4 × 4 sums in registers.

/// A block of 4 × 4 sums: one column vector a row of the result. A variable and no array, so that every compiler keeps it in registers.
fn add_products(sums: mat4x4f, column: vec4f, row: vec4f) -> mat4x4f {
  return mat4x4f(
    fma(vec4f(column.x), row, sums[0]), fma(vec4f(column.y), row, sums[1]), fma(vec4f(column.z), row, sums[2]), fma(vec4f(column.w), row, sums[3]));
}
