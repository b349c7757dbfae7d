// band: the keys that queries see by their position: causal, window, key lengths.
// Parts: head.

/// Keys that at least one of some queries sees: begin ≤ m < end. Keys that every one of the queries sees: whole_begin ≤ m < whole_end.
/// band_of_keys gives queries in place of keys.
struct Band {
  begin: u32,
  end: u32,
  whole_begin: u32,
  whole_end: u32,
}

/// What `count` queries from first_n on see.
fn band_of(head: Head, first_n: u32, count: u32) -> Band {
  let first = i32(first_n) + head.offset;
  let last = i32(min(first_n + count, params.n) - 1) + head.offset;
  let length = i32(head.length);
  let begin = clamp(first - params.left, 0, length);
  let end = clamp(last + params.right + 1, begin, length);
  let whole_begin = clamp(last - params.left, begin, end);
  let whole_end = clamp(first + params.right + 1, whole_begin, end);
  return Band(u32(begin), u32(end), u32(whole_begin), u32(whole_end));
}

/// Whether query n sees each of four keys.
fn are_visible(head: Head, n: u32, m: vec4u) -> vec4<bool> {
  let position = i32(n) + head.offset;
  let last = min(position + params.right, i32(head.length) - 1);
  return (vec4i(m) <= vec4i(last)) & (vec4i(m) >= vec4i(position - params.left));
}
