// grid: the position of a workgroup in a folded grid.

/// A workgroup's position in a grid of params.grid_x × grid_y × grid_z. What is beyond params.grid_z has no work.
fn grid_position(workgroup: vec3u, counts: vec3u) -> vec3u {
  let index = workgroup.x + counts.x * (workgroup.y + counts.y * workgroup.z);
  let row = index / params.grid_x;
  return vec3u(index % params.grid_x, row % params.grid_y, row / params.grid_y);
}
