// backward: what the backward kernels read: tensors and uniforms.

alias Q_UNIT = Q; // what the bindings are arrays of: with VEC4 four elements
alias K_UNIT = K;

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> gradient: array<Q_UNIT>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>; // bits of lse and of delta, keys that exist, bits of ALiBi's slope
@group(0) @binding(5) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16

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
  scale_before: f32, // a power of 2 up to 1 that multiplies one side before the products, so that they overflow only where the scores do
  scale_after: f32, // what is left of the scale: it multiplies the products
  softcap: f32, // 0: off
  left: i32, // keys before and after a query's position that it sees, 2^30: all
  right: i32,
  causal_offset: i32, // position of query 0 among the keys
  is_lower_right: u32, // the offset is keys − n, and causal_offset is not used
  mask_kind: u32, // 0: none, 1: boolean, 2: f32 added, 3: f16 added
  q_offset: u32, // offsets and strides in elements
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
  gradient_offset: u32,
  gradient_b: u32,
  gradient_h: u32,
  gradient_n: u32,
  mask_offset: u32,
  mask_b: u32,
  mask_h: u32,
  mask_n: u32,
  mask_m: u32,
  seed_low: u32,
  seed_high: u32,
  drop_below: u32, // a weight whose random word is below this is dropped
  keep_factor: f32, // of the weights that are kept
  dq_offset: u32,
  dq_b: u32,
  dq_h: u32,
  dq_n: u32,
  dk_offset: u32,
  dk_b: u32,
  dk_h: u32,
  dk_m: u32,
  dv_offset: u32,
  dv_b: u32,
  dv_h: u32,
  dv_m: u32,
  dmask_offset: u32,
  dmask_b: u32,
  dmask_h: u32,
  dmask_n: u32,
  dmask_m: u32,
  batch: u32, // B
  repeats_b: u32, // 1 where the mask has one element along an axis: it counts for all
  repeats_h: u32,
  repeats_n: u32,
  repeats_m: u32,
}
