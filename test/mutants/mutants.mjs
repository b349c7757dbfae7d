/** Faults of the shaders' text that the tests must notice. Each is { what, file, replacements, tests }. */
import { BACKWARD_MUTANTS } from './backward-mutants.mjs';
import { DECODE_MUTANTS } from './decode-mutants.mjs';
import { NUMBER_MUTANTS } from './number-mutants.mjs';

const SCORES = ['scores', 'flash_forward', 'flash_forward_quad', 'flash_forward_row'];
const TILES = SCORES.filter((file) => file !== 'flash_forward_row');
const OPTIONS = 'test/contract/options.test.ts';
const WHOLE = 'test/kernels/flash_forward.test.ts';
const BANDS = 'test/contract/bands.test.ts';
const NOT_FINITE = 'test/contract/not-finite.test.ts';
const DECODE = ['test/kernels/flash_decode.test.ts'];

const each = (files, what, replacements, tests) => files.map((file) => ({ what, file, replacements, tests }));

/** Adds a softcap to the result of `masked`, and takes it from where it belongs. */
const CAP =
  'fn capped(s: f32) -> f32 {\n  if (params.softcap > 0.0 && s > -3e38) {\n    return params.softcap * tanh(clamp(s / params.softcap, -15.0, 15.0));\n  }\n  return s;\n}\n';

const CAP_OF_FOUR =
  'fn capped(s: vec4f) -> vec4f {\n  let t = tanh(clamp(s / params.softcap, vec4f(-15.0), vec4f(15.0)));\n  return select(s, params.softcap * t, (s > vec4f(-3e38)) & vec4<bool>(params.softcap > 0.0));\n}\n';

export const MUTANTS = [
  ...each(['softmax'], 'maximum not subtracted', [['exp(s - row_max)', 'exp(s)']], ['test/kernels/softmax.test.ts']),
  ...each(['flash_forward'], 'maximum not subtracted', [['exp(s - row_max)', 'exp(s)']], [WHOLE]),
  ...each(['flash_forward_quad'], 'maximum not subtracted', [['min(s - (*state).reference, STEEPEST)', 'min(s, STEEPEST)']], [WHOLE]),
  ...each(['flash_forward_row'], 'maximum not subtracted', [['exp(s - largest)', 'exp(s)']], [WHOLE]),
  ...each(
    TILES,
    'causal off by one',
    [
      ['i32(m) > position + params.right', 'i32(m) > position + params.right + 1'],
      ['min(position + params.right + 1', 'min(position + params.right + 2'],
      ['min(position + params.right,', 'min(position + params.right + 1,'],
    ],
    [OPTIONS],
  ),
  ...each(TILES, 'window off by one', [['position - params.left', 'position - params.left - 1']], [OPTIONS]),
  ...each(
    TILES.filter((file) => file !== 'flash_forward_quad'),
    'last key dropped',
    [['i32(head.length) - 1)', 'i32(head.length) - 2)']],
    [WHOLE],
  ),
  ...each(
    ['flash_forward_quad'],
    'last key dropped',
    [['let length = i32(head.length);', 'let length = max(i32(head.length), 1) - 1;']],
    [WHOLE],
  ),
  ...[...SCORES, 'context'].flatMap((file) =>
    each(
      [file],
      'GQA: query heads read key heads by modulo',
      [['h * params.key_heads / params.heads', 'h % params.key_heads']],
      [file.startsWith('flash') ? OPTIONS : `test/kernels/${file}.test.ts`],
    ),
  ),
  ...each(
    SCORES,
    'mask ignored',
    [
      ['if (kind == 1)', 'if (kind == 9)'],
      ['if (kind == 2)', 'if (kind == 9)'],
      ['if (MASK > 0) {', 'if (MASK > 9) {'],
    ],
    [OPTIONS],
  ),
  ...each(TILES, 'boolean mask inverted', [['byte == 0', 'byte != 0']], [OPTIONS]),
  ...each(
    TILES,
    'softcap after the mask',
    [
      ['if (params.softcap > 0.0) {', 'if (false) {'],
      [/masked\((scaled|s,)/, 'capped(masked($1'],
      [' + m * params.mask_m)', ' + m * params.mask_m))'],
      ['/// scale · q·k → softcap.', `${CAP}/// scale · q·k → softcap.`],
    ],
    [OPTIONS],
  ),
  ...each([...SCORES, 'context'], 'key lengths ignored', [['params.has_key_lengths == 0', 'true']], [OPTIONS]),
  ...each(SCORES, 'ALiBi sign', [[/-(=?) (head\.)?slope/, '+$1 $2slope']], [OPTIONS]),
  ...each(
    ['softmax', 'flash_forward', 'flash_forward_quad', 'flash_forward_row'],
    'sink forgotten',
    [['params.has_sinks != 0', 'false']],
    [OPTIONS],
  ),
  ...each(['scores', 'flash_forward'], 'one barrier removed', [[/workgroupBarrier\(\);/, '']], [WHOLE]),
  ...each(['context'], 'one barrier removed', [[/if \(!DIRECT\) \{\n +workgroupBarrier\(\);/, 'if (!DIRECT) {']], [WHOLE]),
  ...each(
    ['context'],
    'slots summed before all of them are written',
    [[/= value;\n {2}workgroupBarrier\(\);/, '= value;']],
    ['test/kernels/context.test.ts'],
  ),
  ...each(['softmax'], 'one barrier removed', [[/workgroupBarrier\(\);/, '']], ['test/kernels/softmax.test.ts']),
  ...['scores', 'context'].flatMap((file) =>
    each(
      [file],
      'one row past the end written',
      [
        ['let known = min(row, params.tile_heads * params.n - 1);', 'let known = row;'],
        ['row < params.tile_heads * params.n);', 'row <= params.tile_heads * params.n);'],
      ],
      [`test/kernels/${file}.test.ts`],
    ),
  ),
  ...each(
    ['flash_forward'],
    'one row past the end written',
    [['first_n + i < params.n && first_e', 'first_n + i <= params.n && first_e']],
    [WHOLE],
  ),
  ...each(
    ['flash_forward_quad'],
    'one row past the end written',
    [['if (lanes_n + r < params.n) {', 'if (lanes_n + r <= params.n) {']],
    [WHOLE],
  ),
  ...each(
    ['flash_forward'],
    'rescale of the accumulator forgotten',
    [['let rescale = select(exp(row_max - new_max), vec4f(1.0), row_max == new_max);', 'let rescale = vec4f(1.0);']],
    [WHOLE],
  ),
  ...[1, 2, 3].flatMap((block) => [
    ...each(['flash_forward'], `rescale of block ${block} forgotten`, [[`sums${block} = scale_rows(sums${block}, rescale);`, '']], [WHOLE]),
  ]),
  ...each(['flash_forward'], 'two blocks stored in one place', [['lane_e + 2 * TILE_M', 'lane_e + TILE_M']], [WHOLE]),
  ...each(
    ['flash_forward'],
    'the barrier before values removed',
    [['workgroupBarrier(); // w_tile is written', '// w_tile is written']],
    [WHOLE],
  ),
  ...each(
    ['flash_forward'],
    'causal by the first of four queries',
    [['row_scores(s[0], head, lane_n + i', 'row_scores(s[0], head, lane_n']],
    [OPTIONS],
  ),
  ...each(['flash_forward_quad'], 'rescale of the accumulator forgotten', [['(*sums)[r * DV_VECS + i] *= rescale;', '']], [WHOLE]),
  ...each(['context'], 'dropout without rescaling', [['weight * params.keep_factor', 'weight']], [OPTIONS]),
  ...each(['flash_forward'], 'dropout without rescaling', [['vec4f(params.keep_factor)', 'vec4f(1.0)']], [OPTIONS]),
  ...each(['flash_forward_quad'], 'dropout without rescaling', [['select(params.keep_factor, 0.0', 'select(1.0, 0.0']], [OPTIONS]),
  ...each(
    ['flash_forward_quad'],
    "dropout's words of the last four keys",
    [['if ((*state).words_of != m / 4)', 'if ((*state).words_of == 0xffffffff)']],
    [OPTIONS],
  ),
  ...each(
    ['flash_forward_quad'],
    'a key taken for whole that is not',
    [['first + params.right + 1, whole_begin', 'first + params.right + 2, whole_begin']],
    [BANDS],
  ),
  ...each(
    ['flash_forward_quad'],
    'a key taken for whole that comes too early',
    [['last - params.left, begin', 'last - params.left - 1, begin']],
    [BANDS],
  ),
  ...each(['flash_forward_row'], 'rescale of the accumulator forgotten', [['a, sum * rescale', 'a, sum']], [WHOLE]),
  ...each(
    ['flash_forward_row'],
    'one row past the end written',
    [['r < ROWS && lane_n + r < params.n', 'r < ROWS && lane_n + r <= params.n']],
    [WHOLE],
  ),
  ...each(['flash_forward_row'], 'rows of vec4 addressed in elements', [['select(1, 4, VEC4)', 'select(1, 1, VEC4)']], [WHOLE]),
  ...each(['flash_forward_row'], 'the last elements of a head dropped', [['(params.d + 3) / 4', 'params.d / 4']], [WHOLE]),
  ...each(['flash_forward_row'], 'dropout without rescaling', [['vec4f(params.keep_factor)', 'vec4f(1.0)']], [OPTIONS]),
  ...each(
    ['flash_forward_row'],
    "dropout's words in another order",
    [['words, words.yxwz, (lane & 1) != 0', 'words, words.yxwz, (lane & 1) == 0']],
    [OPTIONS],
  ),
  ...each(
    ['flash_forward_row'],
    'softcap after the mask',
    [
      ['if (SOFTCAP) {', 'if (false) {'],
      ['masked(s, mask_row + m * params.mask_m)', 'capped(masked(s, mask_row + m * params.mask_m))'],
      ["/// Four scores with the mask's elements.", `${CAP_OF_FOUR}/// Four scores with the mask's elements.`],
    ],
    [OPTIONS],
  ),
  ...[
    ['causal off by one', 'first + params.right + 1, i32', 'first + params.right + 2, i32', BANDS],
    ['window off by one', 'RowBand(first - params.left', 'RowBand(first - params.left - 1', BANDS],
    ['last key dropped', 'params.right + 1, i32(head.length))', 'params.right + 1, i32(head.length) - 1)', WHOLE],
    ['a key that does not exist seen', 'params.right + 1, i32(head.length))', 'params.right + 1, i32(head.length) + 1)', WHOLE],
    ['boolean mask inverted', 'vec4u(0xff)) == vec4u()', 'vec4u(0xff)) != vec4u()', OPTIONS],
    ["another byte of a mask's word", '8 * (index % 4)', '8 * (index % 2)', OPTIONS],
    ['a mask element by its neighbour', 'mask[at.y]', 'mask[at.x]', OPTIONS],
    ['a row sees what the first of its invocation sees', 'band.first + r', 'band.first', BANDS],
    ['a row sees as far as the first of its invocation', 'band.end + r', 'band.end', BANDS],
  ].map(([what, from, to, test]) => ({ what, file: 'flash_forward_row', replacements: [[from, to]], tests: [test] })),
  ...each(
    ['flash_forward_row'],
    'each lane decides by its own values what counts as zeros',
    [['quad_or(not_finite_bits) == 0', 'not_finite_bits == 0']],
    [NOT_FINITE],
  ),
  ...each(
    ['flash_forward_row'],
    'infinity times a weight of 0',
    [['select(vec4f(), (*value)[vec], is_finite)', '(*value)[vec]']],
    [NOT_FINITE],
  ),
  ...each(['flash_forward_row'], 'values that are not finite dropped', [['select(begin, band.end, all_finite)', 'band.end']], [NOT_FINITE]),
  ...each(
    ['flash_forward_row'],
    'the block of another row beside a value that is not finite',
    [['r * V_VECS + i / 4', 'r + i / 4']],
    [NOT_FINITE],
  ),
  ...each(
    ['flash_forward_row'],
    'a value that is not finite reaches who does not see it',
    [['weights_of(within(scores, i32(r), row_band, vec4i(shuffled))', 'weights_of(scores']],
    [NOT_FINITE],
  ),
  ...each(
    ['flash_forward_row'],
    'dropout forgotten beside a value that is not finite',
    [[/^( +)weights \*= dropout_factors/m, '$1let unused = dropout_factors']],
    [NOT_FINITE],
  ),
  ...each(
    ['flash_forward_row'],
    'steps beside a value that is not finite not rescaled',
    [['vec4i(shuffled)), finished[r].largest)', 'vec4i(shuffled)), 0.0 * finished[r].largest)']],
    [NOT_FINITE],
  ),
  ...DECODE_MUTANTS,
  ...each(
    ['flash_merge'],
    'sink counted once a split',
    [['total += of_part * weights;', 'total += of_part * weights + share(sink, largest);']],
    DECODE,
  ),
  ...each(['flash_merge'], 'a part not rescaled', [['sum += of_part * f32(a_out', 'sum += f32(a_out']], DECODE),
  ...each(['flash_merge'], "a part's sum forgotten", [['params.has_sums != 0', 'false']], DECODE),
  ...each(['flash_merge'], 'the last split forgotten', [['part < params.parts', 'part + 1 < params.parts']], DECODE),
  ...[
    [
      'adam',
      'without bias correction',
      [
        [' / params.correction1', ''],
        [' / params.correction2', ''],
      ],
    ],
    ['adam', 'the second moment takes the place of the first', [['moments[params.total + at] = v', 'moments[at] = v']]],
    [
      'embedding_backward',
      'only the last of repeated words counts',
      [['sum += dx[params.dx_offset + row', 'sum = dx[params.dx_offset + row']],
    ],
    ['embedding_backward', 'positions of the first sentence only', [['b < params.batch', 'b < 1']]],
    ['cross_entropy', 'maximum not subtracted', [['exp(logits[base + c] - row_max)', 'exp(logits[base + c])']]],
    ['cross_entropy', 'gradient not divided by the batch', [['wrong / params.divisor', 'wrong']]],
    ['cross_entropy', 'a row without a target counts', [['let is_target = target_class < params.classes', 'let is_target = true']]],
    ['project', 'overwrites what it should add to', [['params.accumulates != 0', 'false']]],
  ].map(([file, what, replacements]) => {
    const test = file.replace('_backward', '');
    return { what, file, replacements, tests: [`test/kernels/${test}.test.ts`] };
  }),
  ...BACKWARD_MUTANTS,
  ...NUMBER_MUTANTS,
];

/** A shader's text with a fault. Throws when none of the replacements finds its place. */
export function mutate(text, { what, file, replacements }) {
  let mutated = text;
  for (const [from, to] of replacements) mutated = typeof from === 'string' ? mutated.replaceAll(from, to) : mutated.replace(from, to);
  if (mutated === text) throw new Error(`${file}: "${what}" finds nothing to change`);
  return mutated;
}
