// logarithm: the natural logarithm with a small relative error.

/// ln x, to a few units in the last place. WGSL allows its own log an absolute error of 2^-21 for x from 0.5 to 2, where ln x may be tiny.
/// There ln x is 2 · artanh(t), t = (x − 1) / (x + 1), by a polynomial that was fitted for |t| < 1/3, where its error is below 2^-27.
fn logarithm(x: f32) -> f32 {
  let t = (x - 1.0) / (x + 1.0);
  let t2 = t * t;
  let near = 2.0 * t + t * t2 * (0.66666418 + t2 * (0.40021527 + t2 * (0.28001803 + 0.28011993 * t2)));
  return select(log(x), near, (x > 0.5) & (x < 2.0));
}
