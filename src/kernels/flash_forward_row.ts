import type { Problem } from '../problem.ts';
import { flashForward, flashParams } from './flash_forward.ts';
import { type Dispatch, type Kernel, numbers, type Variant } from './kernel.ts';

/** Attention in one pass over the keys: the tier of devices that run on the CPU. Bindings and uniforms are those of flash_forward. */
export const flashForwardRow: Kernel = {
  name: 'flash_forward_row',
  source: () => import('../../shaders/flash_forward_row.wgsl?raw'),
  bindings: flashForward.bindings,
  enable: ['subgroups'],
  vec4: [
    'alias Q_UNIT = vec4<Q>;',
    'alias K_UNIT = vec4<K>;',
    'fn load_q(row: u32, d: u32) -> vec4f { return vec4f(q[(row + min(d, params.d - 4)) / 4]); }',
    'fn load_k(row: u32, d: u32) -> vec4f { return vec4f(k[(row + min(d, params.d - 4)) / 4]); }',
    'fn load_v(row: u32, d: u32) -> vec4f { return vec4f(v[(row + min(d, params.dv - 4)) / 4]); }',
    'fn store_out(row: u32, d: u32, value: vec4f) { if (d < params.dv) { out[(row + d) / 4] = vec4<Q>(value); } }',
  ],
};

export function flashForwardRowDispatch(problem: Problem, variant: Variant, alignment: number): Dispatch {
  const { SIZE, ROWS } = numbers<'SIZE' | 'ROWS'>(variant);
  const { B, H, N } = problem;
  return {
    kernel: flashForwardRow,
    variant,
    params: flashParams(problem, alignment),
    grid: [Math.ceil(N / (SIZE * ROWS)), B * H, 1],
  };
}
