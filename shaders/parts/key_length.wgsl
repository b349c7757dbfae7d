// key_length: how many keys a batch element has.

fn key_length(b: u32) -> u32 {
  if (params.has_key_lengths == 0) {
    return params.m;
  }
  return min(key_lengths[params.key_lengths_offset + b], params.m);
}
