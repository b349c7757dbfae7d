// forward_head: a head as the forward kernels see it.
// Parts: head, key_length.

/// ALiBi's slope of a head, 0 without.
fn alibi_slope(h: u32) -> f32 {
  if (params.has_alibi == 0) {
    return 0.0;
  }
  return heads[params.heads_offset + h * params.heads_row];
}

fn head_of(b: u32, h: u32) -> Head {
  return head_with(b, h, key_length(b), alibi_slope(h));
}

/// @param index b · H + h
fn head_at(index: u32) -> Head {
  return head_of(index / params.heads, index % params.heads);
}

/// The i-th head from `first` on. Both read the same key head.
fn sibling(first: Head, i: u32) -> Head {
  return Head(first.index + i, first.b, first.h + i, first.key_head, first.length, first.offset, alibi_slope(first.h + i));
}

/// Where the row of query 0 begins, in elements of out.
fn out_base(head: Head) -> u32 {
  return params.out_offset + head.b * params.out_b + head.h * params.out_h;
}
