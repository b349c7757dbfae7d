// softcap: a cap on scores.

/// cap · tanh(s / cap), to a few units in the last place whatever the cap. WGSL allows its own tanh an absolute error of 1e-5.
/// Near 0 tanh(x) is x + x³ · P(x²). The polynomial P was fitted for |x| < 0.625, where its error is below 2^-27.
/// Beyond 0.625 tanh is 1 − 2e / (1 + e), e = exp(−2x).
fn softcapped(s: Scores) -> Scores {
  let x = clamp(s / params.softcap, Scores(-60.0), Scores(60.0));
  let x2 = x * x;
  let near = s + s * x2 * (-0.33333281 + x2 * (0.13331442 + x2 * (-0.053739712 + x2 * (0.020639079 - 0.0057049785 * x2))));
  let e = exp(-2.0 * abs(x));
  let far = sign(x) * params.softcap * (1.0 - 2.0 * e / (1.0 + e));
  return select(far, near, abs(x) < Scores(0.625));
}
