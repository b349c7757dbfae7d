// softcap_gradient: a cap on scores, and its derivative.

/// cap · tanh(s / cap), and its derivative 1 − tanh².
struct Softcapped {
  s: Scores,
  derivative: Scores,
}

/// To a few units in the last place whatever the cap: parts/softcap.wgsl has the polynomial's source. With g = e / (1 + e), e = exp(−2x), tanh is 1 − 2g.
/// The derivative is 4g · (1 − g), which keeps its digits where tanh is near 1.
fn softcapped(s: Scores) -> Softcapped {
  let x = clamp(s / params.softcap, Scores(-60.0), Scores(60.0));
  let e = exp(-2.0 * abs(x));
  let g = e / (1.0 + e);
  let x2 = x * x;
  let is_near = abs(x) < Scores(0.625);
  let t = select(sign(x) * (1.0 - 2.0 * g), x + x * x2 * (-0.33333281 + x2 * (0.13331442 + x2 * (-0.053739712 + x2 * (0.020639079 - 0.0057049785 * x2)))), is_near);
  return Softcapped(params.softcap * t, select(4.0 * g * (1.0 - g), Scores(1.0) - t * t, is_near));
}
