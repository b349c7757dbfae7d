import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Dispatch, elementOffset, type Kernel, read, uniform, viewParams, write } from '../gpu/kernel.ts';

/** Fills the table `rows` [B,H,N]: lse, delta = Σ dO ∘ out, how many keys exist, and ALiBi's slope. */
export const flashBackwardDelta: Kernel = {
  name: 'flash_backward_delta',
  source: () => import('../../shaders/flash_backward_delta.wgsl?raw'),
  bindings: [read('gradient'), read('out'), read('lse'), read('key_lengths'), read('alibi_slopes'), write('rows'), uniform('params')],
};

const SIZE = 64;

export function flashBackwardDeltaDispatch(problem: BackwardProblem, alignment: number, maxWorkgroups: number): Dispatch {
  const { B, H, N, M, Dv, gradient, out, lse, keyLengths, alibiSlopes } = problem;
  const groups = Math.ceil((B * H * N) / SIZE);
  const x = Math.min(groups, maxWorkgroups);
  return {
    kernel: flashBackwardDelta,
    variant: { Q: out.dtype },
    params: [
      ['heads', 'u32', H],
      ['n', 'u32', N],
      ['m', 'u32', M],
      ['dv', 'u32', Dv],
      ['count', 'u32', B * H * N],
      ['width', 'u32', x * SIZE],
      ['has_key_lengths', 'u32', Number(keyLengths !== undefined)],
      ['has_alibi', 'u32', Number(alibiSlopes !== undefined)],
      ...viewParams('gradient', gradient, 'bhn', alignment),
      ...viewParams('out', out, 'bhn', alignment),
      ...viewParams('lse', lse, 'bhn', alignment),
      ['key_lengths_offset', 'u32', elementOffset(keyLengths, alignment)],
      ['alibi_offset', 'u32', elementOffset(alibiSlopes, alignment)],
    ],
    grid: [x, Math.ceil(groups / Math.max(1, x)), 1],
  };
}
