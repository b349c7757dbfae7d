// The most bytes a second that this device moves: four elements an invocation, read and written.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.y * groups.x * 64 + id.x;
  if (index < arrayLength(&source)) {
    copied[index] = source[index];
  }
}
