// row_scores: scores of a query against four keys, in workgroups that share tiles.
// Parts: excluded, head, band, scale, mask.

/// The scores of query n against four keys from first_m on. What the query does not see is LOWEST. Tiles that every query sees whole compare their keys
/// with the band too: two comparisons of a vec4, beside 4 · D multiply-adds.
fn row_scores(dots: vec4f, head: Head, n: u32, first_m: u32) -> vec4f {
  let is_visible = are_visible(head, n, first_m + vec4u(0, 1, 2, 3));
  var s = dots * params.scale_after;
  // A loop that has no turns where nothing but the position counts, in place of an if: a device on the CPU runs the body of an if in any case.
  let is_changed = params.mask_kind != 0 || params.softcap > 0.0 || params.has_alibi != 0;
  let row = mask_row(head, min(n, params.n - 1));
  for (var j = select(4u, 0u, is_changed); j < 4; j++) {
    let m = min(first_m + j, params.m - 1);
    let distance = f32(abs(i32(n) + head.offset - i32(m)));
    s[j] = masked(scaled(dots[j]) - head.slope * distance, params.mask_kind, row + m * params.mask_m);
  }
  return select(vec4f(LOWEST), s, is_visible);
}
