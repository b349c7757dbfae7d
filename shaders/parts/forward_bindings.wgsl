// forward_bindings: what the fused forward kernels bind beside out.
// Parts: forward.

alias Q_UNIT = Q; // what the bindings are arrays of: with VEC4 four elements
alias K_UNIT = K;

@group(0) @binding(0) var<storage, read> q: array<Q_UNIT>;
@group(0) @binding(1) var<storage, read> k: array<K_UNIT>;
@group(0) @binding(2) var<storage, read> v: array<K_UNIT>;
@group(0) @binding(3) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(4) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> heads: array<f32>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;
