import type { Problem } from '../contract/problem.ts';
import { type Dispatch, gridDispatch, numbers, tunable, type Variant } from '../gpu/kernel.ts';
import { flashForward } from './flash_forward.ts';
import { forwardParams } from './forward.ts';

/** Attention in one pass over the keys: the tier of GPUs with subgroups. Bindings and uniforms are those of flash_forward. */
export const flashForwardQuad = tunable({
  name: 'flash_forward_quad',
  constants: {
    alias: ['Q', 'K'],
    u32: ['WIDTH', 'SIZE', 'LANES', 'ROWS', 'D', 'DV'],
    bool: ['VEC4', 'SKIP_ZEROS', 'DROPOUT'],
  },
  source: () => import('../../shaders/flash_forward_quad.wgsl?raw'),
  bindings: flashForward.bindings,
  enable: ['subgroups'],
  vec4: () => [
    'alias Q_UNIT = vec4<Q>;',
    'alias K_UNIT = vec4<K>;',
    'fn load_q(row: u32, vec: u32) -> vec4f { return vec4f(q[row / 4 + inside(vec, D)]); }',
    'fn load_k(row: u32, vec: u32) -> vec4f { return vec4f(k[row / 4 + inside(vec, D)]); }',
    'fn load_v(row: u32, vec: u32) -> vec4f { return vec4f(v[row / 4 + inside(vec, DV)]); }',
    'fn store_out(row: u32, vec: u32, value: vec4f) { if (4 * vec < DV) { out[row / 4 + vec] = vec4<Q>(value); } }',
  ],
});

export function flashForwardQuadDispatch(problem: Problem, variant: Variant, alignment: number): Dispatch {
  const { SIZE, LANES, ROWS } = numbers<'SIZE' | 'LANES' | 'ROWS'>(variant);
  const { B, H, N } = problem;
  return gridDispatch(flashForwardQuad, variant, [Math.ceil(N / ((SIZE / LANES) * ROWS)), B * H, 1], forwardParams(problem, alignment));
}
