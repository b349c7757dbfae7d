// mask_visible: the same as mask, for kernels that also come by keys that a query does not see.
// Parts: mask, excluded.

/// A score with the mask's element, which is not loaded where the query does not see the key.
fn masked_if_visible(s: f32, is_visible: bool, index: u32) -> f32 {
  if (!is_visible) {
    return LOWEST;
  }
  return masked(s, params.mask_kind, index);
}
