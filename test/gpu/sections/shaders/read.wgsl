// The most bytes a second that this device reads: four elements a turn, nothing written.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * 256;
  var sum = vec4f();
  for (var i = id.x; i < arrayLength(&source); i += 4 * stride) {
    sum += source[i] + source[i + stride] + source[i + 2 * stride] + source[i + 3 * stride];
  }
  // Hardly ever true, but the compiler cannot know.
  if (dot(sum, vec4f(1)) == 12345.678) {
    out[0] = 1;
  }
}
