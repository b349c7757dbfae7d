// scale: from a dot product to a score: scale and softcap.
// Parts: softcap.

/// scale · q·k → softcap.
fn scaled(dot: f32) -> f32 {
  let s = dot * params.scale_after;
  if (params.softcap > 0.0) {
    return softcapped(s);
  }
  return s;
}
