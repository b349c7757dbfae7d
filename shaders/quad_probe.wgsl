enable subgroups;
// quad_probe: do quads and subgroups follow local_invocation_index? WGSL does not promise it, and flash_forward_quad needs it.
//
//   out [1]: the number of invocations that share a quad with another index / 4, or within a subgroup's reach with another index / 16
//
// Each invocation compares the indices that it gets from its neighbours with what they would be. src/tiles/facts.ts runs it once a device.
// What it finds is the device's alone: it has no twin on the CPU; its test is test/kernels/quad_probe.test.ts.

const SIZE: u32 = 64; // as flash_forward_quad's

@group(0) @binding(0) var<storage, read_write> out: atomic<u32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(subgroup_size) width: u32) {
  let across = quadSwapX(index);
  let below = quadSwapY(index);
  let first = quadBroadcast(index, 0);
  let by_4 = subgroupShuffleXor(index, 4);
  let by_8 = subgroupShuffleXor(index, 8);
  let is_quad = across == (index ^ 1) && below == (index ^ 2) && first == index / 4 * 4;
  let is_wide = (width < 8 || by_4 == (index ^ 4)) && (width < 16 || by_8 == (index ^ 8));
  if (!is_quad || !is_wide) {
    atomicAdd(&out, 1);
  }
}
