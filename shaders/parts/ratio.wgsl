// ratio: a quotient of two exponentials.

/// exp(a − b), exactly 1 where they are equal. exp(0) is not exactly 1 everywhere.
fn ratio(a: f32, b: f32) -> f32 {
  return select(exp(a - b), 1.0, a == b);
}
