/** Faults of what keeps numbers right at the ends of their range, and of folded grids. Each is { what, file, replacements, tests }, as in mutants.mjs. */
const SOFTCAP = ['test/contract/softcap.test.ts'];
const MAGNITUDES = ['test/contract/magnitudes.test.ts'];
const FOLDED = ['test/contract/folded-grids.test.ts'];

const SCALARS = ['scores', 'flash_forward', 'flash_forward_quad', 'flash_decode'];
const FORWARD = [...SCALARS, 'flash_forward_row'];
const QUADS = ['flash_backward_dq_quad', 'flash_backward_dkv_quad'];
const FOURS = ['flash_backward_dq', 'flash_backward_dkv', 'flash_backward_dq_row', 'flash_backward_dkv_row'];

const each = (files, what, replacements, tests) => files.map((file) => ({ what, file, replacements, tests }));

const NEAR = 'return select(far, near, abs(x) < ';
const TANH = 'let t = select(';

export const NUMBER_MUTANTS = [
  ...each(
    FORWARD,
    "WGSL's own tanh",
    [[`${NEAR}Scores(0.625));`, 'return params.softcap * tanh(clamp(x, Scores(-15.0), Scores(15.0)));']],
    SOFTCAP,
  ),
  ...each(
    [...QUADS, ...FOURS],
    "WGSL's own tanh",
    [[TANH, 'let t = tanh(clamp(x, Scores(-15.0), Scores(15.0))); let unused = select(']],
    SOFTCAP,
  ),
  ...each([...FORWARD, ...QUADS, ...FOURS], 'tanh without its polynomial', [['abs(x) < ', 'x * x < 0.0 * ']], SOFTCAP),
  ...each([...QUADS, ...FOURS], "the softcap's derivative as 1 − tanh² everywhere", [['4.0 * g * (1.0 - g)', '1.0 - t * t']], SOFTCAP),
  ...each(
    [...FORWARD, ...QUADS, ...FOURS],
    'the whole scale after the products',
    [
      [' * params.scale_before,', ','],
      [' * params.scale_before;', ';'],
      [/params\.scale_after(?! \* params\.scale_before)/g, 'params.scale_after * params.scale_before'],
    ],
    MAGNITUDES,
  ),
  ...each(
    ['softmax', 'flash_forward', 'flash_forward_quad', 'flash_forward_row', 'flash_decode'],
    'a logarithm near 1 that is off',
    [['t2 * (0.66666418', 't2 * (0.6']],
    MAGNITUDES,
  ),
  ...each(
    [
      'scores',
      'softmax',
      'context',
      ...FORWARD.slice(1),
      'flash_backward_dq',
      ...QUADS,
      ...FOURS.slice(1),
      'flash_backward_mask',
      'project',
    ],
    'a folded grid taken as it was dispatched',
    [['vec3u(index % params.grid_x, row % params.grid_y, row / params.grid_y)', 'workgroup']],
    FOLDED,
  ),
];
