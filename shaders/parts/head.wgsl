// head: one query head of one batch element: which keys it has, and where its rows begin.

struct Head {
  index: u32, // b · H + h
  b: u32,
  h: u32,
  key_head: u32, // that it reads
  length: u32, // keys that exist
  offset: i32, // position of query 0 among the keys
  slope: f32, // ALiBi's
}

fn head_with(b: u32, h: u32, length: u32, slope: f32) -> Head {
  let offset = select(params.causal_offset, i32(length) - i32(params.n), params.is_lower_right != 0);
  return Head(b * params.heads + h, b, h, h * params.key_heads / params.heads, length, offset, slope);
}

/// Where the row of query 0 begins, in elements of q.
fn q_base(head: Head) -> u32 {
  return params.q_offset + head.b * params.q_b + head.h * params.q_h;
}

/// Where the row of key 0 begins, in elements of k.
fn k_base(head: Head) -> u32 {
  return params.k_offset + head.b * params.k_b + head.key_head * params.k_h;
}

fn v_base(head: Head) -> u32 {
  return params.v_offset + head.b * params.v_b + head.key_head * params.v_h;
}

/// Where the mask's row of query n begins, in elements of the mask.
fn mask_row(head: Head, n: u32) -> u32 {
  return params.mask_offset + head.b * params.mask_b + head.h * params.mask_h + n * params.mask_n;
}
