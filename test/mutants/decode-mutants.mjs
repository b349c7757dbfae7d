/** Faults of flash_decode. Each is { what, file, replacements, tests }, as in mutants.mjs. */
const OPTIONS = 'test/contract/options.test.ts';
const DECODE = ['test/kernels/flash_decode.test.ts'];

export const DECODE_MUTANTS = [
  ['maximum not subtracted', [['exp(s.x - largest)', 'exp(s.x)']], DECODE],
  ['rows of vec4 addressed in elements', [['select(1, 4, VEC4)', 'select(1, 1, VEC4)']], DECODE],
  ['a key lost at the border of two splits', [['min(begin + split_keys, band.end)', 'min(begin + split_keys - 1, band.end)']], DECODE],
  [
    'last key dropped',
    [
      ['is_visible = m < end', 'is_visible = m + 1 < end'],
      ['+ lead(slot) < end', '+ lead(slot) + 1 < end'],
    ],
    DECODE,
  ],
  ['rescale of the accumulator forgotten', [['total[i] *= row.rescale', 'total[i] *= 1.0']], DECODE],
  ['slots not rescaled', [['let slot_factor = ratio(', 'let slot_factor = 1.0 + 0.0 * ratio(']], DECODE],
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
  ['GQA head map', [['pair % params.key_heads * (params.heads / params.key_heads)', 'pair % params.key_heads']], DECODE],
  ['sink forgotten', [['params.has_sinks != 0', 'false']], DECODE],
  ['causal off by one', [['at.position + params.right)', 'at.position + params.right + 1)']], [OPTIONS]],
  ['window off by one', [['at.position - params.left)', 'at.position - params.left - 1)']], [OPTIONS]],
  ['boolean mask inverted', [['byte == 0', 'byte != 0']], [OPTIONS]],
  ['mask ignored', [['if (MASK > 0)', 'if (false)']], [OPTIONS]],
  [
    'softcap after the mask',
    [
      ['return select(LOWEST, s, is_visible);', 'return select(LOWEST, select(s, capped(s), s > -3e38), is_visible);'],
      ['var s = scaled(dot);', 'var s = dot * params.scale_after;'],
      [
        '/// The score of a row',
        'fn capped(s: f32) -> f32 {\n  return select(s, params.softcap * tanh(clamp(s / params.softcap, -15.0, 15.0)), params.softcap > 0.0);\n}\n\n/// The score of a row',
      ],
    ],
    [OPTIONS],
  ],
  ['ALiBi sign', [['s -= at.slope', 's += at.slope']], [OPTIONS]],
  ['dropout without rescaling', [['vec4f(params.keep_factor)', 'vec4f(1.0)']], [OPTIONS]],
  ["dropout's words in another order", [['words[first_m % 4]', 'words[3 - first_m % 4]']], [OPTIONS]],
].map(([what, replacements, tests]) => ({ what, file: 'flash_decode', replacements, tests }));
