import type { Problem } from '../contract/problem.ts';
import { type Dispatch, gridDispatch, numbers, tunable, type Variant } from '../gpu/kernel.ts';
import { flashForward } from './flash_forward.ts';
import { forwardParams } from './forward.ts';

/** Replacements of the shader's lines where LANES is above 1: several invocations share a key's elements. */
const LINES_OF_LANES = [
  'fn lead(slot: u32) -> u32 { return 0; }',
  'fn sum_lanes(dots: array<vec4f, ROWS>, index: u32) -> array<vec4f, ROWS> { return sum_over_lanes(dots, index); }',
];

/** Attention of few queries over many keys. The keys are split over workgroups. Bindings and uniforms are those of flash_forward. */
export const flashDecode = tunable({
  name: 'flash_decode',
  constants: {
    alias: ['Q', 'K', 'O'],
    u32: ['SPLITS', 'SIZE', 'LANES', 'ROWS', 'KEYS', 'COLS', 'D_BLOCKS', 'DV_BLOCKS', 'MASK'],
    bool: ['VEC4', 'D_TAIL', 'DV_TAIL', 'SOFTCAP', 'ALIBI', 'BAND', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_decode.wgsl?raw'),
  bindings: flashForward.bindings,
  vec4: () => [
    ...['alias Q_UNIT = vec4<Q>;', 'alias K_UNIT = vec4<K>;', 'alias O_UNIT = vec4<O>;'],
    'fn load_q(row: u32, vec: u32) -> vec4f { return vec4f(q[row + inside(vec, params.d, D_TAIL)]); }',
    'fn load_k(row: u32, vec: u32) -> vec4f { return vec4f(k[row + inside(vec, params.d, D_TAIL)]); }',
    'fn load_v(row: u32, vec: u32) -> vec4f { return vec4f(v[row + inside(vec, params.dv, DV_TAIL)]); }',
    'fn store_out(row: u32, vec: u32, value: vec4f) { if (4 * vec < params.dv) { out[row + vec] = vec4<O>(value); } }',
  ],
  lines: ({ LANES }) => (LANES === 1 ? [] : LINES_OF_LANES),
});

/** How many rows share a key head: the queries of all query heads that read it. */
export const rowsOf = ({ H, Hk, N }: Problem): number => (Hk === 0 ? 0 : (H / Hk) * N);

/** @param variant SPLITS is a uniform, not a `const` of the shader: one pipeline serves every number of keys */
export function flashDecodeDispatch(problem: Problem, { SPLITS, ...variant }: Variant, alignment: number): Dispatch {
  const { B, Hk } = problem;
  const rowBlocks = Math.ceil(rowsOf(problem) / numbers<'ROWS'>(variant).ROWS);
  const splits = numbers<'SPLITS'>({ SPLITS: SPLITS! }).SPLITS;
  // With several splits flash_merge counts the sinks. So this kernel never needs slopes and sinks in one table.
  const counted = splits > 1 ? { ...problem, sinks: undefined, returnLse: true } : problem;
  const params = forwardParams(counted, alignment, { splits, rowBlocks });
  const launch = gridDispatch(flashDecode, variant, [splits, B * Hk * rowBlocks, 1], params);
  return { ...launch, settings: { SPLITS: splits } };
}

export function flashDecodeBytes(variant: Variant): number {
  const { SIZE, LANES, ROWS, COLS } = numbers<'SIZE' | 'LANES' | 'ROWS' | 'COLS'>(variant);
  return (
    16 * SIZE * Math.max(ROWS, COLS) + // scratch
    16 * (SIZE / LANES) * ROWS + // dot_sums
    8 * (SIZE / LANES) * ROWS // stats
  );
}

/** Where the splits' parts lie in the workspace, in bytes: first out [splits,B,H,N,Dv], then maxima and sums [splits,2,B,H,N], all f32. */
export function splitsLayout({ B, H, N, Dv }: Problem, splits: number): { outBytes: number; statsOffset: number; statsBytes: number } {
  const rows = B * H * N;
  const outBytes = 4 * splits * rows * Dv;
  return { outBytes, statsOffset: Math.ceil(outBytes / 256) * 256, statsBytes: 8 * splits * rows }; // a binding's offset is a multiple of 256
}
