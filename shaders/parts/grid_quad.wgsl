// grid_quad: the position of a workgroup in a folded grid, for kernels without an early return.

/// A workgroup's position in a grid of params.grid_x × grid_y × grid_z. One beyond the end gets x = grid_x: its queries or keys are past the last, or below 0 as u32, and nothing is stored:
/// a return would take compilers for Apple's GPUs 24 registers more in the loop (Mesa 26.1, 30 Nov 2026).
fn grid_position(workgroup: vec3u, counts: vec3u) -> vec3u {
  let index = workgroup.x + counts.x * (workgroup.y + counts.y * workgroup.z);
  let row = index / params.grid_x;
  return select(vec3u(params.grid_x, 0, 0), vec3u(index % params.grid_x, row % params.grid_y, row / params.grid_y), row / params.grid_y < params.grid_z);
}
