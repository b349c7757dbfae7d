// forward: the uniforms of the forward kernels.

struct Params {
  grid_x: u32, // workgroups that the work takes in x, y and z; the dispatch folds a grid that is too long for one dimension
  grid_y: u32,
  grid_z: u32,
  heads: u32, // H
  key_heads: u32, // Hk
  n: u32,
  m: u32,
  d: u32,
  dv: u32,
  scale_before: f32, // a power of 2 up to 1 that multiplies q before the products, so that they overflow only where the scores do
  scale_after: f32, // what is left of the scale: it multiplies the products
  softcap: f32, // 0: off
  left: i32, // keys before and after a query's position that it sees, 2^30: all
  right: i32,
  causal_offset: i32, // position of query 0 among the keys
  is_lower_right: u32, // the offset is keys − n, and causal_offset is not used
  mask_kind: u32, // 0: none, 1: boolean, 2: f32 added, 3: f16 added
  has_key_lengths: u32,
  has_alibi: u32,
  has_sinks: u32,
  has_lse: u32,
  heads_offset: u32, // offsets and strides in elements
  heads_row: u32, // 1, or 2 where slopes and sinks are interleaved
  q_offset: u32,
  q_b: u32,
  q_h: u32,
  q_n: u32,
  k_offset: u32,
  k_b: u32,
  k_h: u32,
  k_m: u32,
  v_offset: u32,
  v_b: u32,
  v_h: u32,
  v_m: u32,
  mask_offset: u32,
  mask_b: u32,
  mask_h: u32,
  mask_n: u32,
  mask_m: u32,
  key_lengths_offset: u32,
  out_offset: u32,
  out_b: u32,
  out_h: u32,
  out_n: u32,
  seed_low: u32,
  seed_high: u32,
  drop_below: u32, // a weight whose random word is below this is dropped
  keep_factor: f32, // of the weights that are kept
  splits: u32, // of the keys, in flash_decode
  row_blocks: u32, // of ROWS rows, a key head, in flash_decode
  all_rows: u32, // B · H · N
  tile_heads: u32, // query heads a workgroup, in scores and context: a divisor of H / Hk, 1 without GROUPED
}
