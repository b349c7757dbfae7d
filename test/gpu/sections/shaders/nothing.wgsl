// As little as a dispatch can do: what is left is what a dispatch costs.

@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x == 0) {
    out[0] = 1;
  }
}
