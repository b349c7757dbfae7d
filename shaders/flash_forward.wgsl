// enable
// flash_forward: out = dropout(softmax(scale · q kᵀ → softcap → + ALiBi → mask)) · v in one pass over the keys: no N×M in memory.
// The baseline tier: workgroup memory and barriers, no optional feature.
//
//   q   [B,H,N,D]    k [B,Hk,M,D]    v [B,Hk,M,Dv]    mask broadcast to [B,H,N,M]    key_lengths [B]    heads: slopes, sinks, or both
//   out [B,H,N,Dv]   lse [B,H,N]
//
// A workgroup computes TILE_N queries of one head. It walks over the keys in tiles of TILE_M. An invocation holds a block of 4 queries × 4 keys
// of the scores, and BLOCKS blocks of 4 queries × 4 elements of out, which stay unnormalised until the end. For each tile: the scores, the rows'
// new maximum (out and the sums so far are scaled by how much it rose), exp of what is left as weights in workgroup memory, weights · v.
// In the loop over the keys, blocks are variables (sums0 to sums3) and not an array, and only constants index them: compilers then keep them in
// registers. A loop over a block's rows rotates the block: each turn works on row 0 and puts it last.
// Its twin on the CPU is src/reference/attention.ts, its test test/kernels/flash_forward.test.ts.
// Source: T. Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1; M. Milakov, N. Gimelshein, arXiv 1805.02867 (online softmax).
// Parts: forward_bindings, grid, forward_head, head, band, tile_products, row_scores, excluded, dropout, weighted, row_end.

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
alias Scores = f32; // the type of softcapped's argument: f32 or vec4f
const TILE_N: u32 = 32; // queries a workgroup
const TILE_M: u32 = 32; // keys a tile
const KEYS: u32 = 16; // keys whose values are in workgroup memory at a time
const BLOCKS: u32 = 2; // 1 to 4; TILE_M · BLOCKS ≥ Dv
const TILE_VECS: u32 = BLOCKS * BLOCKS_M; // vec4 of a value, or of a row of out

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0 && TILE_M % KEYS == 0 && BLOCKS <= 4;

@group(0) @binding(6) var<storage, read_write> out: array<Q>;

// q: [STEP][BLOCKS_N], and k: [STEP][BLOCKS_M]; then the rows' maxima: [BLOCKS_N][BLOCKS_M] of 4 rows; then v: [KEYS][TILE_VECS]; at the end, with dropout, the rows' sums
var<workgroup> tile: array<vec4f, max(STEP * (BLOCKS_N + BLOCKS_M), max(SIZE, KEYS * TILE_VECS))>;
var<workgroup> w_tile: array<vec4f, TILE_M * BLOCKS_N>; // weights, [TILE_M][BLOCKS_N]

fn scale_rows(sums: mat4x4f, factors: vec4f) -> mat4x4f {
  return mat4x4f(sums[0] * factors.x, sums[1] * factors.y, sums[2] * factors.z, sums[3] * factors.w);
}

fn largest(s: vec4f) -> f32 {
  return max(max(s.x, s.y), max(s.z, s.w));
}

/// exp(s − row_max) of what is not excluded.
fn weights_of(s: vec4f, row_max: f32) -> vec4f {
  return select(exp(s - row_max), vec4f(), are_excluded(s));
}

fn store(base: u32, first_n: u32, first_e: u32, values: mat4x4f) {
  for (var i = 0u; i < 4; i++) {
    for (var j = 0u; j < 4; j++) {
      if (first_n + i < params.n && first_e + j < params.dv) {
        out[base + (first_n + i) * params.out_n + first_e + j] = Q(values[i][j]);
      }
    }
  }
}

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
  let head = head_at(group.y);
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries begin first: causal queries at the end see most keys
  let band = band_of(head, first_n, TILE_N);
  let v_at = v_base(head);

  let lane_n = first_n + 4 * local.y; // the first of this invocation's 4 queries
  var row_max = vec4f(LOWEST);
  var row_sum = vec4f(); // of the weights: of the whole row, with dropout only of this invocation's keys
  var sums0 = mat4x4f(); // out, unnormalised: [4 queries][4 elements]
  var sums1 = mat4x4f();
  var sums2 = mat4x4f();
  var sums3 = mat4x4f();

  for (var first_m = band.begin / TILE_M * TILE_M; first_m < band.end; first_m += TILE_M) {
    var s = tile_scores(head, first_n, first_m, local.y, local.x, lane); // [4 queries][4 keys]

    // The rows' maximum, over the invocations that share them.
    let lane_m = first_m + 4 * local.x;
    for (var i = 0u; i < 4; i++) { // each query in turn is the first
      s = mat4x4f(s[1], s[2], s[3], row_scores(s[0], head, lane_n + i, lane_m));
    }
    tile[lane] = vec4f(largest(s[0]), largest(s[1]), largest(s[2]), largest(s[3]));
    workgroupBarrier();
    var new_max = row_max;
    for (var x = 0u; x < BLOCKS_M; x++) {
      new_max = max(new_max, tile[local.y * BLOCKS_M + x]);
    }
    let rescale = select(exp(row_max - new_max), vec4f(1.0), row_max == new_max); // exactly 1 where the maximum stayed: exp(0) need not be
    row_max = new_max;

    s = mat4x4f(weights_of(s[0], row_max.x), weights_of(s[1], row_max.y), weights_of(s[2], row_max.z), weights_of(s[3], row_max.w));
    row_sum *= rescale;
    if (DROPOUT) {
      row_sum += vec4f(dot(s[0], vec4f(1.0)), dot(s[1], vec4f(1.0)), dot(s[2], vec4f(1.0)), dot(s[3], vec4f(1.0)));
      for (var i = 0u; i < 4; i++) {
        s = mat4x4f(s[1], s[2], s[3], s[0] * dropout_factors(philox(vec4u(lane_m / 4, lane_n + i, head.index, 0))));
      }
    }
    let columns = transpose(s);
    let weights_at = 4 * local.x * BLOCKS_N + local.y;
    w_tile[weights_at] = columns[0];
    w_tile[weights_at + BLOCKS_N] = columns[1];
    w_tile[weights_at + 2 * BLOCKS_N] = columns[2];
    w_tile[weights_at + 3 * BLOCKS_N] = columns[3];

    sums0 = scale_rows(sums0, rescale);
    if (BLOCKS > 1) {
      sums1 = scale_rows(sums1, rescale);
    }
    if (BLOCKS > 2) {
      sums2 = scale_rows(sums2, rescale);
    }
    if (BLOCKS > 3) {
      sums3 = scale_rows(sums3, rescale);
    }
    for (var step = 0u; step < TILE_M; step += KEYS) {
      workgroupBarrier(); // w_tile is written; tile is no longer read
      for (var i = lane; i < KEYS * TILE_VECS; i += SIZE) {
        let m = first_m + step + i / TILE_VECS;
        let e = 4 * (i % TILE_VECS);
        tile[i] =
          vec4f(load_v(v_at, m, e, head.length), load_v(v_at, m, e + 1, head.length), load_v(v_at, m, e + 2, head.length), load_v(v_at, m, e + 3, head.length));
      }
      workgroupBarrier();
      for (var m = 0u; m < KEYS; m++) {
        let w = w_tile[(step + m) * BLOCKS_N + local.y];
        let at = m * TILE_VECS + local.x;
        sums0 = add_weighted_products(sums0, w, tile[at]);
        if (BLOCKS > 1) {
          sums1 = add_weighted_products(sums1, w, tile[at + BLOCKS_M]);
        }
        if (BLOCKS > 2) {
          sums2 = add_weighted_products(sums2, w, tile[at + 2 * BLOCKS_M]);
        }
        if (BLOCKS > 3) {
          sums3 = add_weighted_products(sums3, w, tile[at + 3 * BLOCKS_M]);
        }
        if (!DROPOUT) {
          row_sum += w; // in the order of the products: what both lose by rounding cancels in their quotient
        }
      }
    }
    workgroupBarrier();
  }

  // With dropout the rows' sums are added up over the invocations that share them.
  var total = row_sum;
  if (DROPOUT) {
    tile[lane] = row_sum;
    workgroupBarrier();
    total = vec4f();
    for (var x = 0u; x < BLOCKS_M; x++) {
      total += tile[local.y * BLOCKS_M + x];
    }
  }
  var factors = vec4f(); // of the rows of out
  for (var i = 0u; i < 4; i++) { // each row in turn is the first
    let end = row_end(row_max.x, total.x, head.h);
    factors = vec4f(factors.yzw, end.factor);
    row_max = row_max.yzwx;
    total = total.yzwx;
    if (params.has_lse != 0 && local.x == 0 && lane_n + i < params.n) {
      lse[head.index * params.n + lane_n + i] = end.lse;
    }
  }

  let out_at = out_base(head);
  let lane_e = 4 * local.x;
  store(out_at, lane_n, lane_e, scale_rows(sums0, factors));
  if (BLOCKS > 1) {
    store(out_at, lane_n, lane_e + TILE_M, scale_rows(sums1, factors));
  }
  if (BLOCKS > 2) {
    store(out_at, lane_n, lane_e + 2 * TILE_M, scale_rows(sums2, factors));
  }
  if (BLOCKS > 3) {
    store(out_at, lane_n, lane_e + 3 * TILE_M, scale_rows(sums3, factors));
  }
}
