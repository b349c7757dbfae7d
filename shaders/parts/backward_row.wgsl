// backward_row: log-sum-exp and delta of a query.

/// lse and delta of query n; the row of a query that does not exist is never used.
fn row_of(head: u32, n: u32) -> vec2f {
  return bitcast<vec2f>(rows[head * params.n + min(n, params.n - 1)].xy);
}
