// backward_head: a head as the backward kernels see it, and a row of the table that flash_backward_delta writes.
// Parts: head.

fn head_of(b: u32, h: u32) -> Head {
  let row = rows[(b * params.heads + h) * params.n];
  return head_with(b, h, row.z, bitcast<f32>(row.w));
}

/// @param index b · H + h
fn head_at(index: u32) -> Head {
  return head_of(index / params.heads, index % params.heads);
}

/// Where the row of query 0 begins, in elements of the gradient of out.
fn gradient_base(head: Head) -> u32 {
  return params.gradient_offset + head.b * params.gradient_b + head.h * params.gradient_h;
}

/// Log-sum-exp and delta of query n. The row of a query that does not exist is never used.
fn row_of(head: Head, n: u32) -> vec2f {
  return bitcast<vec2f>(rows[head.index * params.n + min(n, params.n - 1)].xy);
}
