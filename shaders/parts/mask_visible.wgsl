// mask_visible: a score with the mask's element, for kernels whose tiles have keys that a query does not see.
// Parts: mask, excluded.

/// The mask's element is loaded only where the query sees the key.
fn masked_if_visible(s: f32, is_visible: bool, index: u32) -> f32 {
  if (!is_visible) {
    return LOWEST;
  }
  return masked(s, params.mask_kind, index);
}
