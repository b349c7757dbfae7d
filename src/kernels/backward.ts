import type { BackwardProblem } from '../contract/backward-problem.ts';
import { type Binding, type Param, read, viewParams } from '../gpu/kernel.ts';
import { bandParams, dropoutParams, maskKind } from './band.ts';
import { scaleParams } from './scale.ts';

/** Bytes of a row's entry in the table `rows`. Its four numbers are lse, delta, how many keys exist, and ALiBi's slope. */
export const ROW_BYTES = 16;

/** The inputs of every kernel that recomputes the weights, in the order of the bindings. */
export const BACKWARD_INPUTS: readonly Binding[] = ['q', 'k', 'v', 'gradient', 'rows', 'mask'].map(read);

/** The uniforms of the kernels that recompute the weights: the struct of shaders/parts/backward.wgsl. */
export function backwardParams(problem: BackwardProblem, alignment: number): readonly Param[] {
  const { B, H, Hk, N, M, D, Dv, q, k, v, mask, gradient, dq, dk, dv, dMask } = problem;
  const repeats = (axis: number): number => Number(dMask?.shape[axis] === 1);
  return [
    ['heads', 'u32', H],
    ['key_heads', 'u32', Hk],
    ['n', 'u32', N],
    ['m', 'u32', M],
    ['d', 'u32', D],
    ['dv', 'u32', Dv],
    ...scaleParams(problem),
    ['softcap', 'f32', problem.softcap],
    ...bandParams(problem),
    ['mask_kind', 'u32', maskKind(problem)],
    ...viewParams('q', q, 'bhn', alignment),
    ...viewParams('k', k, 'bhm', alignment),
    ...viewParams('v', v, 'bhm', alignment),
    ...viewParams('gradient', gradient, 'bhn', alignment),
    ...viewParams('mask', mask, 'bhnm', alignment),
    ...dropoutParams(problem),
    ...viewParams('dq', dq, 'bhn', alignment),
    ...viewParams('dk', dk, 'bhm', alignment),
    ...viewParams('dv', dv, 'bhm', alignment),
    ...viewParams('dmask', dMask, 'bhnm', alignment),
    ['batch', 'u32', B],
    ['repeats_b', 'u32', repeats(0)],
    ['repeats_h', 'u32', repeats(1)],
    ['repeats_n', 'u32', repeats(2)],
    ['repeats_m', 'u32', repeats(3)],
  ];
}
