// band_of_keys: the queries that see keys by their position.
// Parts: head, band.

/// Which queries see `count` keys from first_m on. Queries begin to end see some of the keys, queries whole_begin to whole_end see each of them. No query
/// sees a key that does not exist.
fn band_of_keys(head: Head, first_m: u32, count: u32) -> Band {
  let first = i32(first_m) - head.offset;
  let last = i32(min(first_m + count, head.length)) - 1 - head.offset;
  let queries = select(0, i32(params.n), first_m < head.length);
  let begin = clamp(first - params.right, 0, queries);
  let end = clamp(last + params.left + 1, begin, queries);
  let whole_begin = clamp(last - params.right, begin, end);
  let whole_end = clamp(first + params.left + 1, whole_begin, end);
  return Band(u32(begin), u32(end), u32(whole_begin), u32(whole_end));
}
