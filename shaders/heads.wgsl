// enable
// heads: interleaves two numbers a head into one table, so that the fused kernels need one binding for both.
//
//   alibi_slopes [H]     sinks [H]
//   heads        [H,2]: slope, sink
//
// An invocation copies the numbers of one head, then of every head as many further on as there are invocations. A copy needs no twin on the CPU; its test is test/kernels/heads.test.ts.

struct Params {
  heads: u32, // H
  alibi_offset: u32, // offsets in elements
  sinks_offset: u32,
}

@group(0) @binding(0) var<storage, read> alibi_slopes: array<f32>;
@group(0) @binding(1) var<storage, read> sinks: array<f32>;
@group(0) @binding(2) var<storage, read_write> heads: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  for (var h = id.x; h < params.heads; h += 64 * groups.x) {
    heads[2 * h] = alibi_slopes[params.alibi_offset + h];
    heads[2 * h + 1] = sinks[params.sinks_offset + h];
  }
}
