// enable
// quad_probe: do quads follow local_invocation_index? WGSL does not promise it, and flash_forward_quad needs it.
//
//   out [1]: the number of invocations whose quad is not the four with the same index / 4
//
// Each invocation compares its index, and those of its quad, with what they would be. src/probe.ts runs it once a device.

const SIZE: u32 = 64; // as flash_forward_quad's

@group(0) @binding(0) var<storage, read_write> out: atomic<u32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32) {
  let across = quadSwapX(index);
  let below = quadSwapY(index);
  let is_ordered = across == (index ^ 1) && below == (index ^ 2);
  if (!is_ordered) {
    atomicAdd(&out, 1);
  }
}
