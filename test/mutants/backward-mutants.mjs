/** Faults of the backward pass's shaders. Each is { what, file, replacements, tests }, as in mutants.mjs. */
const WHOLE = 'test/backward.test.ts';
const OPTIONS = 'test/backward-options.test.ts';
const PRODUCTS = ['flash_backward_dq', 'flash_backward_dkv'];
const ALL = [...PRODUCTS, 'flash_backward_mask'];

const QUADS = ['flash_backward_dq_quad', 'flash_backward_dkv_quad'];
const ROWS = ['flash_backward_dq_row', 'flash_backward_dkv_row'];

const FAULTS = [
  [ALL, 'wrong sign of delta', [['products - row.y', 'products + row.y']]],
  [ALL, 'delta missing', [['products - row.y', 'products']]],
  [ALL, 'causal off by one', [['vec4i(position + params.right)', 'vec4i(position + params.right + 1)']]],
  [ALL, 'window off by one', [['vec4i(position - params.left)', 'vec4i(position - params.left - 1)']]],
  [
    ALL,
    'a band one tile too short',
    [
      ['+ params.right + 1, 0', '+ params.right, 0'],
      ['+ params.left + 1, 0', '+ params.left, 0'],
    ],
  ],
  [PRODUCTS, "the softcap's derivative missing", [['derivative = 1.0 - t * t;', '']]],
  [['flash_backward_dq'], 'scale applied twice', [['sums[i][j] * params.scale', 'sums[i][j] * params.scale * params.scale']]],
  [['flash_backward_dkv'], 'scale applied twice', [['length, params.scale)', 'length, params.scale * params.scale)']]],
  [['flash_backward_dkv'], 'a GQA group not summed', [['h < (key_head + 1) * sharing', 'h < key_head * sharing + 1']], WHOLE],
  [
    ['flash_backward_dq', 'flash_backward_mask'],
    'GQA head map by modulo',
    [['h * params.key_heads / params.heads', 'h % params.key_heads']],
  ],
  [ALL, 'dropout regenerated with another counter', [['vec4u(first_m / 4, n, place.head, 0)', 'vec4u(first_m / 4, n, place.h, 0)']]],
  [ALL, 'dropout without rescaling', [['vec4f(params.keep_factor)', 'vec4f(1.0)']]],
  [['flash_backward_dkv'], 'dropout forgotten in dv', [['weights * factors, select', 'weights, select']]],
  [[...ALL, ...ROWS], 'masks of four keys by whether the first is seen', [['visible = visible.yzwx;', '']]],
  [ALL, 'ALiBi sign', [['s -= place.slope', 's += place.slope']]],
  [PRODUCTS, 'boolean mask inverted', [['byte == 0', 'byte != 0']]],
  [ALL, 'what a mask hides still counts', [['is_seen & !is_excluded', 'is_seen']]],
  [['flash_backward_dq'], 'a weight of 0 meets a key that is excluded', [['result = select(result, sum, weight == 0.0);', '']]],
  [['flash_backward_dkv'], 'a weight of 0 meets a row that sees no key', [['result = select(result, sum, weight == 0.0);', '']]],
  [
    PRODUCTS,
    'one row past the end written',
    [
      ['first_n + i < params.n', 'first_n + i <= params.n'],
      ['first_m + i < params.m', 'first_m + i <= params.m'],
    ],
    WHOLE,
  ],
  [PRODUCTS, 'one barrier removed', [[/workgroupBarrier\(\);/, '']], WHOLE],
  [
    ['flash_backward_dq', 'flash_backward_dkv'],
    'the second slice of a long head lost',
    [['let slice = group.z * 4 * WIDTH;', 'let slice = 0u;']],
    WHOLE,
  ],
  [['flash_backward_mask'], 'not summed over the batch', [['params.batch, params.repeats_b', 'mask_b + 1, params.repeats_b']]],
  [['flash_backward_mask'], 'not summed over heads', [['params.heads, params.repeats_h != 0));', 'mask_h + 1, params.repeats_h != 0));']]],
  [['flash_backward_mask'], 'not summed over queries', [['select(1u, TILE_N, params.repeats_n != 0)', '1u']]],
  [['flash_backward_mask'], 'not summed over keys', [['select(1u, TILE_M, params.repeats_m != 0)', '1u']]],
  [['flash_backward_delta'], 'key lengths ignored', [['params.has_key_lengths == 0', 'true']]],
  [['flash_backward_delta'], 'slope of another head', [['alibi_slope(h)', 'alibi_slope(0)']]],
  [['flash_backward_delta'], 'the last element dropped', [['e < params.dv', 'e + 1 < params.dv']]],
  [['flash_backward_sinks'], 'wrong sign', [['sum -=', 'sum +=']]],
  [['flash_backward_sinks'], 'one batch element only', [['b < params.batch', 'b < 1']]],
  [['flash_backward_sinks'], 'rows from the second round on dropped', [['n += SIZE', 'n += 16 * SIZE']], OPTIONS],
  [QUADS, 'wrong sign of delta', [['product - row.y) * derivative', 'product + row.y) * derivative']]],
  [QUADS, 'wrong sign of delta where every query sees every key', [['* (product - row.y)', '* (product + row.y)']]],
  [QUADS, 'causal off by one', [['i32(m) <= position + params.right', 'i32(m) <= position + params.right + 1']]],
  [QUADS, 'what not everyone sees taken for seen', [['<= whole_end', '<= whole_end + 3']]],
  [QUADS, "the softcap's derivative missing", [['derivative = 1.0 - t * t;', '']]],
  [['flash_backward_dq_quad'], 'scale applied twice', [['+ i] * params.scale', '+ i] * params.scale * params.scale']]],
  [['flash_backward_dkv_quad'], 'scale applied twice', [['length, params.scale)', 'length, params.scale * params.scale)']]],
  [['flash_backward_dkv_quad'], 'a GQA group not summed', [['h < (key_head + 1) * sharing', 'h < key_head * sharing + 1']]],
  [['flash_backward_dq_quad'], 'GQA head map by modulo', [['h * params.key_heads / params.heads', 'h % params.key_heads']]],
  [QUADS, 'dropout regenerated with another counter', [['place.head, 0)', 'place.h, 0)']]],
  [['flash_backward_dkv_quad'], 'dropout forgotten in dv', [['Weights(weight * factor,', 'Weights(weight,']]],
  [QUADS, 'ALiBi sign', [['s -= place.slope', 's += place.slope']]],
  [QUADS, 'boolean mask inverted', [['byte == 0', 'byte != 0']]],
  [QUADS, 'half a quad not summed', [['quadSwapY(select(pair.y, pair.x, is_below))', '0.0']], WHOLE],
  [['flash_backward_dq_quad'], 'a weight of 0 meets a key that is excluded', [['SKIP_ZEROS && weight == 0.0', 'false']]],
  [['flash_backward_dkv_quad'], 'a weight of 0 meets a row that sees no key', [['SKIP_ZEROS && weight == 0.0', 'false']]],
  [['flash_backward_dkv_quad'], 'the second part of a long head lost', [['group.z * DK_PART', '0u']], WHOLE],
  [ROWS, 'wrong sign of delta', [[/products - (row\.y|delta)\) \* derivative/, 'products + $1) * derivative']]],
  [ROWS, 'wrong sign of delta where every one is seen', [[/\* \(products - (row\.y|delta)\)/, '* (products + $1)']]],
  [ROWS, 'causal off by one', [[/position \+ params\.right\)(?=\)? &)/, 'position + params.right + 1)']]],
  [ROWS, 'window off by one', [[/position - params\.left\)(?=\)?;)/, 'position - params.left - 1)']]],
  [ROWS, "the softcap's derivative missing", [['derivative = 1.0 - t * t;', '']]],
  [['flash_backward_dkv_row'], 'a GQA group not summed', [['h < (key_head + 1) * sharing', 'h < key_head * sharing + 1']]],
  [['flash_backward_dq_row'], 'GQA head map by modulo', [['h * params.key_heads / params.heads', 'h % params.key_heads']]],
  [ROWS, 'dropout regenerated with another counter', [['place.head, 0)', 'place.h, 0)']]],
  [
    ['flash_backward_dq_row'],
    "dropout's words in another order",
    [['words, words.yxwz, (lane & 1) != 0', 'words, words.yxwz, (lane & 1) == 0']],
  ],
  [ROWS, 'dropout without rescaling', [[/params\.keep_factor(?=[,)])/, '1.0']]],
  [['flash_backward_dkv_row'], 'dropout forgotten in dv', [['Weights(weights * factors,', 'Weights(weights,']]],
  [ROWS, 'rows of vec4 addressed in elements', [['select(1, 4, VEC4)', 'select(1, 1, VEC4)']], WHOLE],
  [ROWS, 'the last elements of a head dropped', [['(params.d + 3) / 4', 'params.d / 4']], WHOLE],
  [ROWS, 'ALiBi sign', [['s -= place.slope', 's += place.slope']]],
  [ROWS, 'boolean mask inverted', [['byte == 0', 'byte != 0']]],
  [ROWS, 'what a mask hides still counts', [['is_seen & !is_excluded', 'is_seen']]],
  [['flash_backward_dq_row'], 'a weight of 0 meets a key that is excluded', [['SKIP_ZEROS && !is_whole', 'false']]],
  [['flash_backward_dkv_row'], 'a weight of 0 meets a row that sees no key', [['SKIP_ZEROS && !is_whole', 'false']]],
  [
    ROWS,
    'one row past the end written',
    [
      ['r < ROWS && own_n + r < params.n', 'r < ROWS && own_n + r <= params.n'],
      ['r < ROWS && own_m + r < params.m', 'r < ROWS && own_m + r <= params.m'],
    ],
    WHOLE,
  ],
];

export const BACKWARD_MUTANTS = FAULTS.flatMap(([files, what, replacements, tests = OPTIONS]) =>
  files.map((file) => ({ what, file, replacements, tests: [tests] })),
);
