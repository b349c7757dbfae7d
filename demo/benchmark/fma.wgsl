// The most multiply-adds a second that this device does: 16 chains in each invocation, each as long as the loop is unrolled, nothing loaded.
// Every turn is 16 · 16 of them, so TURNS · 512 operations an invocation.
const TURNS: u32 = 64;

@group(0) @binding(0) var<storage, read_write> out: array<f32>;

fn four(x: vec4f, a: vec4f, b: vec4f) -> vec4f {
  return fma(fma(fma(fma(x, a, b), a, b), a, b), a, b);
}

fn sixteen(x: vec4f, a: vec4f, b: vec4f) -> vec4f {
  return four(four(four(four(x, a, b), a, b), a, b), a, b);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.y * groups.x * 64 + id.x;
  let a = vec4f(0.999 - 1e-7 * f32(index % 64));
  let b = vec4f(1e-3, 2e-3, 3e-3, 4e-3);
  var x = vec4f(f32(index % 64));
  var y = x + 1.0;
  var z = x + 2.0;
  var w = x + 3.0;
  for (var turn = 0u; turn < TURNS; turn++) {
    x = sixteen(x, a, b);
    y = sixteen(y, a, b);
    z = sixteen(z, a, b);
    w = sixteen(w, a, b);
  }
  out[index % arrayLength(&out)] = dot(x + y + z + w, vec4f(1.0));
}
