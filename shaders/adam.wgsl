// enable
// adam: one step of the optimizer Adam on a range of a flat list of parameters, in place.
//
//   m ← β₁ m + (1 − β₁) g     v ← β₂ v + (1 − β₂) g²     θ ← θ − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//
//   parameters, gradients [total]     moments [2, total]: m, then v, both 0 before the first step     t: the step, from 1 on
//
// The host computes the corrections 1 − β₁ᵗ and 1 − β₂ᵗ: in f32 the second would lose half its digits while t is small.
// Source: D. Kingma, J. Ba, Adam: a method for stochastic optimization, arXiv 1412.6980, algorithm 1.

const SIZE: u32 = 64; // invocations a workgroup

struct Params {
  first: u32, // the range's first element
  count: u32, // and how many it has
  total: u32,
  learning_rate: f32,
  beta1: f32,
  beta2: f32,
  complement1: f32, // 1 − β₁
  complement2: f32, // 1 − β₂
  correction1: f32, // 1 − β₁ᵗ
  correction2: f32, // 1 − β₂ᵗ
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> moments: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  for (var i = id.x; i < params.count; i += SIZE * groups.x) {
    let at = params.first + i;
    let g = gradients[at];
    let m = params.beta1 * moments[at] + params.complement1 * g;
    let v = params.beta2 * moments[params.total + at] + params.complement2 * g * g;
    moments[at] = m;
    moments[params.total + at] = v;
    parameters[at] -= params.learning_rate * (m / params.correction1) / (sqrt(v / params.correction2) + params.epsilon);
  }
}
