// Fills a buffer with positive numbers that differ: memory that holds zeros alone may be compressed.

@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  for (var i = id.x; i < arrayLength(&out); i += groups.x * 256) {
    out[i] = ((i * 2654435761u) ^ (i >> 7u)) & 0x3fffffffu;
  }
}
