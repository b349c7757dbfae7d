// enable
// flash_backward_mask: dmask = dS, the gradient of an additive mask, summed over the axes that the mask repeats.
// With P the weights, made again from the scores and lse, R what dropout multiplies them by, dO the gradient of out:
//
//     P = exp(s − lse)      dS = P ∘ (R ∘ (dO vᵀ) − delta)
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    gradient of out [B,H,N,Dv]    mask broadcast to [B,H,N,M]
//   rows [B,H,N] of lse, delta, keys that exist, ALiBi's slope: from flash_backward_delta
//   dmask of the mask's own shape: each axis as long as the problem's, or 1
//
// A workgroup computes the elements of dmask that TILE_N queries × TILE_M keys of the mask are made of, or of one query, or of one key, where the
// mask repeats those. It walks over everything that reads them, batch elements, heads, queries and keys in tiles, and adds up dS; an invocation
// holds a block of 4 queries × 4 keys. At the end the blocks' sums are added up along a repeated axis.
// Its twin on the CPU is src/reference/attention_backward.ts, its test test/kernels/flash_backward_options.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 2.
// Parts: backward, grid, backward_head, band, tile_products, tile_gradients.

alias Q = f32; // storage of q and gradient
alias K = f32; // storage of k and v
alias Scores = vec4f; // the type of softcapped's argument: f32 or vec4f
const TILE_N: u32 = 32; // queries a tile
const TILE_M: u32 = 32; // keys a tile

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0;

@group(0) @binding(6) var<storage, read_write> dmask: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, STEP * (BLOCKS_N + BLOCKS_M)>; // q or gradient: [STEP][BLOCKS_N], k or v: [STEP][BLOCKS_M]
var<workgroup> totals: array<f32, TILE_N * TILE_M>; // [TILE_N][TILE_M]

@compute @workgroup_size(BLOCKS_M, BLOCKS_N)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = grid_position(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  // Along an axis that the mask repeats the workgroup walks over all elements. Along another it has one tile.
  let mask_heads = select(params.heads, 1, params.repeats_h != 0);
  let mask_b = group.z / mask_heads;
  let mask_h = group.z % mask_heads;
  let range_b = vec2u(select(mask_b, 0, params.repeats_b != 0), select(mask_b + 1, params.batch, params.repeats_b != 0)); // from, to
  let range_h = vec2u(select(mask_h, 0, params.repeats_h != 0), select(mask_h + 1, params.heads, params.repeats_h != 0));
  let tile_n = group.y * TILE_N;
  let tile_m = group.x * TILE_M;
  let end_n = select(tile_n + 1, params.n, params.repeats_n != 0);
  let end_m = select(tile_m + 1, params.m, params.repeats_m != 0);

  var sums = mat4x4f(); // [4 queries][4 keys]
  for (var b = range_b.x; b < range_b.y; b++) {
    for (var h = range_h.x; h < range_h.y; h++) {
      let head = head_of(b, h);
      for (var first_n = tile_n; first_n < end_n; first_n += TILE_N) {
        let band = band_of(head, first_n, TILE_N);
        let begin = band.begin / TILE_M * TILE_M;
        for (var first_m = max(begin, tile_m); first_m < min(band.end, end_m); first_m += TILE_M) {
          var s = tile_scores(head, first_n, first_m, local.y, local.x, lane); // [4 queries][4 keys]
          var g = tile_value_products(head, first_n, first_m, local.y, local.x, lane);
          let lane_n = first_n + 4 * local.y;
          let lane_m = first_m + 4 * local.x;
          for (var i = 0u; i < 4; i++) { // each query in turn is the first; its dS is put into g
            let weights = weights_of(s[0], g[0], head, lane_n + i, lane_m);
            s = mat4x4f(s[1], s[2], s[3], s[0]);
            g = mat4x4f(g[1], g[2], g[3], weights.ds);
          }
          sums += g;
        }
      }
    }
  }

  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      totals[(4 * local.y + i) * TILE_M + 4 * local.x + j] = sums[i][j];
    }
  }
  workgroupBarrier();
  // An invocation adds up what one element is made of: itself, its column, its row, or everything.
  let rows_n = select(1u, TILE_N, params.repeats_n != 0);
  let cols_m = select(1u, TILE_M, params.repeats_m != 0);
  for (var i = lane; i < TILE_N * TILE_M; i += SIZE) {
    let row = i / TILE_M;
    let col = i % TILE_M;
    let n = tile_n + row;
    let m = tile_m + col;
    let has_element = (row == 0 || params.repeats_n == 0) && (col == 0 || params.repeats_m == 0);
    if (has_element && (n < params.n || params.repeats_n != 0) && (m < params.m || params.repeats_m != 0)) { // a row that is repeated is there without queries too
      var total = 0.0;
      for (var y = row; y < row + rows_n; y++) {
        for (var x = col; x < col + cols_m; x++) {
          total += totals[y * TILE_M + x];
        }
      }
      dmask[params.dmask_offset + mask_b * params.dmask_b + mask_h * params.dmask_h + n * params.dmask_n + m * params.dmask_m] = total;
    }
  }
}
