/** Faults of flash_decode. Each is { what, file, replacements, tests }, as in mutants.mjs. */
const OPTIONS = 'test/contract/options.test.ts';
const DECODE = ['test/kernels/flash_decode.test.ts'];

export const DECODE_MUTANTS = [
  ['maximum not subtracted', [['exp(s.x - largest)', 'exp(s.x)']], DECODE],
  ['rows of vec4 addressed in elements', [['select(1, 4, VEC4)', 'select(1, 1, VEC4)']], DECODE],
  ['a key lost at the border of two splits', [['min(begin + split_keys, seen_end)', 'min(begin + split_keys - 1, seen_end)']], DECODE],
  [
    'last key dropped',
    [
      ['is_seen = m < end', 'is_seen = m + 1 < end'],
      ['+ lead(slot) < end', '+ lead(slot) + 1 < end'],
    ],
    DECODE,
  ],
  ['rescale of the accumulator forgotten', [[/sums\[(\d)\] \* row\.rescale/g, 'sums[$1]']], DECODE],
  ['slots not rescaled', [['let own_factor = ratio(', 'let own_factor = 1.0 + 0.0 * ratio(']], DECODE],
  ["a slot's sum not rescaled", [['.y * ratio(stats[i * ROWS + r].x, largest)', '.y']], DECODE],
  [
    'a barrier removed after the statistics',
    [
      [
        /workgroupBarrier\(\);\n {2}for \(var r = 0u; r < ROWS; r\+\+\) \{\n {4}let is_row/,
        'for (var r = 0u; r < ROWS; r++) {\n    let is_row',
      ],
    ],
    DECODE,
  ],
  ['a barrier removed before the sum over lanes', [[/workgroupBarrier\(\);\n {2}let row =/, 'let row =']], DECODE],
  ['one row past the end written', [['first_row + r < group_rows()', 'first_row + r <= group_rows()']], DECODE],
  ['what is excluded still counts', [['vec4u(bits))', 'vec4u(0xffffffff))']], DECODE],
  ['key lengths ignored', [['params.has_key_lengths == 0', 'true']], DECODE],
  ['GQA head map', [['key_head * (params.heads / params.key_heads)', 'key_head']], DECODE],
  ['sink forgotten', [['params.has_sinks != 0', 'false']], DECODE],
  ['causal off by one', [['place.position + params.right)', 'place.position + params.right + 1)']], [OPTIONS]],
  ['window off by one', [['place.position - params.left)', 'place.position - params.left - 1)']], [OPTIONS]],
  ['boolean mask inverted', [['byte == 0', 'byte != 0']], [OPTIONS]],
  ['mask ignored', [['if (MASK > 0)', 'if (false)']], [OPTIONS]],
  [
    'softcap after the mask',
    [
      ['return select(LOWEST, s, is_seen);', 'return select(LOWEST, select(s, capped(s), s > -3e38), is_seen);'],
      ['var s = scaled(dot);', 'var s = dot * params.scale_after;'],
      [
        '/// The score of a row',
        'fn capped(s: f32) -> f32 {\n  return select(s, params.softcap * tanh(clamp(s / params.softcap, -15.0, 15.0)), params.softcap > 0.0);\n}\n\n/// The score of a row',
      ],
    ],
    [OPTIONS],
  ],
  ['ALiBi sign', [['s -= place.slope', 's += place.slope']], [OPTIONS]],
  ['dropout without rescaling', [['weights * params.keep_factor', 'weights']], [OPTIONS]],
  ["dropout's words in another order", [['words[first_m % 4]', 'words[3 - first_m % 4]']], [OPTIONS]],
].map(([what, replacements, tests]) => ({ what, file: 'flash_decode', replacements, tests }));
