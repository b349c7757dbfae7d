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
// Parts: excluded, grid, dropout, key_length, logarithm, scale, mask, forward, block, weighted, load.

alias Q = f32; // storage of q and out
alias K = f32; // storage of k and v
alias Scores = f32; // what softcapped takes at once
const TILE_N: u32 = 32; // queries a workgroup
const TILE_M: u32 = 32; // keys a tile
const KEYS: u32 = 16; // keys whose values are in workgroup memory at a time
const BLOCKS: u32 = 2; // 1 to 4; TILE_M · BLOCKS ≥ Dv
const SIZE_X: u32 = TILE_M / 4;
const SIZE_Y: u32 = TILE_N / 4;
const WIDTH: u32 = BLOCKS * SIZE_X; // vec4 of a value, or of a row of out

const_assert TILE_N % 4 == 0 && TILE_M % 4 == 0 && TILE_M % KEYS == 0 && BLOCKS <= 4;

@group(0) @binding(0) var<storage, read> q: array<Q>;
@group(0) @binding(1) var<storage, read> k: array<K>;
@group(0) @binding(2) var<storage, read> v: array<K>;
@group(0) @binding(3) var<storage, read> mask: array<u32>; // bytes, or the bits of f32 or f16
@group(0) @binding(4) var<storage, read> key_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> heads: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<Q>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

// q: [STEP][SIZE_Y], and k: [STEP][SIZE_X]; then the rows' maxima: [SIZE_Y][SIZE_X] of 4 rows; then v: [KEYS][WIDTH]; at the end, with dropout, the rows' sums
var<workgroup> tile: array<vec4f, max(STEP * (SIZE_X + SIZE_Y), max(SIZE_X * SIZE_Y, KEYS * WIDTH))>;
var<workgroup> w_tile: array<vec4f, TILE_M * SIZE_Y>; // weights, [TILE_M][SIZE_Y]

/// Which head a workgroup works on, and what its queries see.
struct Place {
  head: u32, // b · H + h
  b: u32,
  h: u32,
  length: u32, // keys that exist
  offset: i32, // position of query 0 among the keys
  slope: f32, // ALiBi's
}

fn scale_rows(sums: mat4x4f, factors: vec4f) -> mat4x4f {
  return mat4x4f(sums[0] * factors.x, sums[1] * factors.y, sums[2] * factors.z, sums[3] * factors.w);
}

/// The scores of query n against 4 keys from first_m on; what it does not see is LOWEST. Tiles that every query sees whole compare their keys with the
/// band too: two comparisons of a vec4, beside 4 · D multiply-adds.
fn row_scores(dots: vec4f, place: Place, n: u32, first_m: u32) -> vec4f {
  let position = i32(n) + place.offset;
  let last = min(position + params.right, i32(place.length) - 1);
  let keys = vec4i(vec4u(first_m) + vec4u(0, 1, 2, 3));
  let is_seen = (keys <= vec4i(last)) & (keys >= vec4i(position - params.left));
  var s = dots * params.scale_after;
  // A loop without a turn where only the position counts: a device on the CPU runs the body of an if in any case.
  let is_changed = params.mask_kind != 0 || params.softcap > 0.0 || params.has_alibi != 0;
  let mask_row = params.mask_offset + place.b * params.mask_b + place.h * params.mask_h + min(n, params.n - 1) * params.mask_n;
  for (var j = select(4u, 0u, is_changed); j < 4; j++) {
    let m = min(first_m + j, params.m - 1);
    s[j] = masked(scaled(dots[j]) - place.slope * f32(abs(position - i32(m))), mask_row + m * params.mask_m);
  }
  return select(vec4f(LOWEST), s, is_seen);
}

fn largest(s: vec4f) -> f32 {
  return max(max(s.x, s.y), max(s.z, s.w));
}

/// exp(s − row_max) of what is not excluded.
fn weights_of(s: vec4f, row_max: f32) -> vec4f {
  let bits = bitcast<vec4u>(s);
  let is_excluded = (bits >= vec4u(EXCLUDES)) & (bits <= vec4u(MINUS_INFINITY));
  return select(exp(s - row_max), vec4f(), is_excluded);
}

fn dropped(weights: vec4f, head: u32, n: u32, first_m: u32) -> vec4f {
  return select(weights * params.keep_factor, vec4f(), philox(vec4u(first_m / 4, n, head, 0)) < vec4u(params.drop_below));
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

@compute @workgroup_size(SIZE_X, SIZE_Y)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = grid_place(workgroup, counts);
  if (group.z >= params.grid_z) {
    return;
  }
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let first_n = ((params.n - 1) / TILE_N - group.x) * TILE_N; // the last queries, which see most where they are causal, begin first
  let length = key_length(b);
  let offset = select(params.causal_offset, i32(length) - i32(params.n), params.is_lower_right != 0);
  var slope = 0.0;
  if (params.has_alibi != 0) {
    slope = heads[params.heads_offset + h * params.heads_row];
  }
  let place = Place(group.y, b, h, length, offset, slope);
  let q_base = params.q_offset + b * params.q_b + h * params.q_h;
  let key_head = h * params.key_heads / params.heads;
  let k_base = params.k_offset + b * params.k_b + key_head * params.k_h;
  let v_base = params.v_offset + b * params.v_b + key_head * params.v_h;

  // The keys that some query of the workgroup sees; tiles begin at multiples of TILE_M.
  let first_position = i32(first_n) + offset;
  let last_position = i32(min(first_n + TILE_N, params.n) - 1) + offset;
  let begin = u32(clamp(first_position - params.left, 0, i32(length))) / TILE_M * TILE_M;
  let end = u32(clamp(last_position + params.right + 1, 0, i32(length)));

  let own_n = first_n + 4 * local.y; // the first of this invocation's 4 queries
  var row_max = vec4f(LOWEST);
  var row_sum = vec4f(); // of the weights; with dropout, whose products have other weights, of this invocation's keys only
  var sums0 = mat4x4f(); // out, unnormalised: [4 queries][4 elements]
  var sums1 = mat4x4f();
  var sums2 = mat4x4f();
  var sums3 = mat4x4f();

  for (var first_m = begin; first_m < end; first_m += TILE_M) {
    // Initialised by hand: without, the variable kept its value from one turn of the loop to the next (Chrome 143, SwiftShader, 24 Nov 2026).
    var s = mat4x4f(); // [4 queries][4 keys]
    for (var first_d = 0u; first_d < params.d; first_d += STEP) {
      for (var i = lane; i < STEP * SIZE_Y; i += SIZE_X * SIZE_Y) {
        let d = first_d + i % STEP;
        let n = first_n + 4 * (i / STEP);
        tile[(i % STEP) * SIZE_Y + i / STEP] =
          vec4f(load_q(q_base, n, d), load_q(q_base, n + 1, d), load_q(q_base, n + 2, d), load_q(q_base, n + 3, d));
      }
      for (var i = lane; i < STEP * SIZE_X; i += SIZE_X * SIZE_Y) {
        let d = first_d + i % STEP;
        let m = first_m + 4 * (i / STEP);
        tile[STEP * SIZE_Y + (i % STEP) * SIZE_X + i / STEP] = vec4f(
          load_k(k_base, m, d, length), load_k(k_base, m + 1, d, length), load_k(k_base, m + 2, d, length), load_k(k_base, m + 3, d, length));
      }
      workgroupBarrier();
      for (var d = 0u; d < STEP; d++) {
        s = add_products(s, tile[d * SIZE_Y + local.y], tile[STEP * SIZE_Y + d * SIZE_X + local.x]);
      }
      workgroupBarrier();
    }

    // The rows' maximum, over the invocations that share them.
    let own_m = first_m + 4 * local.x;
    for (var i = 0u; i < 4; i++) { // each query in turn is the first
      s = mat4x4f(s[1], s[2], s[3], row_scores(s[0], place, own_n + i, own_m));
    }
    tile[lane] = vec4f(largest(s[0]), largest(s[1]), largest(s[2]), largest(s[3]));
    workgroupBarrier();
    var new_max = row_max;
    for (var x = 0u; x < SIZE_X; x++) {
      new_max = max(new_max, tile[local.y * SIZE_X + x]);
    }
    let rescale = select(exp(row_max - new_max), vec4f(1.0), row_max == new_max); // where it stayed exactly 1, which exp(0) is not everywhere
    row_max = new_max;

    s = mat4x4f(weights_of(s[0], row_max.x), weights_of(s[1], row_max.y), weights_of(s[2], row_max.z), weights_of(s[3], row_max.w));
    row_sum *= rescale;
    if (DROPOUT) {
      row_sum += vec4f(dot(s[0], vec4f(1.0)), dot(s[1], vec4f(1.0)), dot(s[2], vec4f(1.0)), dot(s[3], vec4f(1.0)));
      for (var i = 0u; i < 4; i++) {
        s = mat4x4f(s[1], s[2], s[3], dropped(s[0], place.head, own_n + i, own_m));
      }
    }
    let columns = transpose(s);
    let weights_at = 4 * local.x * SIZE_Y + local.y;
    w_tile[weights_at] = columns[0];
    w_tile[weights_at + SIZE_Y] = columns[1];
    w_tile[weights_at + 2 * SIZE_Y] = columns[2];
    w_tile[weights_at + 3 * SIZE_Y] = columns[3];

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
      for (var i = lane; i < KEYS * WIDTH; i += SIZE_X * SIZE_Y) {
        let m = first_m + step + i / WIDTH;
        let e = 4 * (i % WIDTH);
        tile[i] = vec4f(
          load_v(v_base, m, e, length), load_v(v_base, m, e + 1, length), load_v(v_base, m, e + 2, length), load_v(v_base, m, e + 3, length));
      }
      workgroupBarrier();
      for (var m = 0u; m < KEYS; m++) {
        let w = w_tile[(step + m) * SIZE_Y + local.y];
        let at = m * WIDTH + local.x;
        sums0 = add_weighted_products(sums0, w, tile[at]);
        if (BLOCKS > 1) {
          sums1 = add_weighted_products(sums1, w, tile[at + SIZE_X]);
        }
        if (BLOCKS > 2) {
          sums2 = add_weighted_products(sums2, w, tile[at + 2 * SIZE_X]);
        }
        if (BLOCKS > 3) {
          sums3 = add_weighted_products(sums3, w, tile[at + 3 * SIZE_X]);
        }
        if (!DROPOUT) {
          row_sum += w; // in the order of the products: what both lose by rounding cancels in their quotient
        }
      }
    }
    workgroupBarrier();
  }

  // With dropout the rows' sums are added up over the invocations that share them. Then the sink.
  var total = row_sum;
  if (DROPOUT) {
    tile[lane] = row_sum;
    workgroupBarrier();
    total = vec4f();
    for (var x = 0u; x < SIZE_X; x++) {
      total += tile[local.y * SIZE_X + x];
    }
  }
  var factor = vec4f(1.0); // of out, before it is divided by the total
  if (params.has_sinks != 0) {
    let sink = vec4f(heads[params.heads_offset + h * params.heads_row + params.heads_row - 1]);
    let with_sink = max(row_max, sink);
    factor = exp(row_max - with_sink);
    total = total * factor + exp(sink - with_sink);
    row_max = with_sink;
  }
  let is_empty = total == vec4f(); // the row sees neither key nor sink
  let normaliser = select(factor / total, vec4f(), is_empty);

  let out_base = params.out_offset + b * params.out_b + h * params.out_h;
  let own_e = 4 * local.x;
  store(out_base, own_n, own_e, scale_rows(sums0, normaliser));
  if (BLOCKS > 1) {
    store(out_base, own_n, own_e + TILE_M, scale_rows(sums1, normaliser));
  }
  if (BLOCKS > 2) {
    store(out_base, own_n, own_e + 2 * TILE_M, scale_rows(sums2, normaliser));
  }
  if (BLOCKS > 3) {
    store(out_base, own_n, own_e + 3 * TILE_M, scale_rows(sums3, normaliser));
  }
  if (params.has_lse != 0 && local.x == 0) {
    for (var i = 0u; i < 4; i++) {
      if (own_n + i < params.n) {
        lse[place.head * params.n + own_n + i] = select(row_max[i] + logarithm(total[i]), LOWEST, is_empty[i]);
      }
    }
  }
}
