// tile_heads: query heads that share the rows of a tile.

const GROUPED: bool = false; // a workgroup may have several query heads

/// The query of a row, and its head counted from the workgroup's first. A row past the last one is the last one.
fn query_of(row: u32) -> vec2u {
  let known = min(row, params.tile_heads * params.n - 1);
  if (!GROUPED) {
    return vec2u(known, 0);
  }
  return vec2u(known % params.n, known / params.n);
}
