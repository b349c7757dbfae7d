/** What tune measured: by class of problems, as plain JSON, for the problems that come after. */
import type { Tuning } from '../contract/api.ts';
import { isVec4, type Problem, UNLIMITED } from '../contract/problem.ts';

/**
 * Problems that one measurement stands for: the same head sizes, types and options that cost, and lengths within the same power of two.
 * Offsets and strides count as far as they allow access to whole vec4.
 */
export function tuningClass(problem: Problem): string {
  const { B, H, Hk, N, M, D, Dv, q, k, mask, keyLengths, alibiSlopes, sinks, left, right, softcap, dropout, returnScores } = problem;
  const upTo = (length: number) => 2 ** Math.ceil(Math.log2(length));
  const flags = {
    ...{ mask, keyLengths, alibiSlopes, sinks, softcap: softcap !== 0, dropout, returnScores },
    ...{ left: left < UNLIMITED, right: right < UNLIMITED, scattered: !isVec4(problem) },
  };
  const set = Object.entries(flags)
    .filter(([, value]) => value)
    .map(([name]) => name);
  return [`B${upTo(B)} H${H}/${Hk} N${upTo(N)} M${upTo(M)} D${D} Dv${Dv} ${q.dtype} ${k.dtype}`, ...set].join(' ');
}

/**
 * The problem with what was measured for its class; unchanged where nothing was, where the caller chose, or where explicit was fastest and this problem's
 * N×M scores are more than a binding holds.
 */
export function withTuning(problem: Problem, fastest: Tuning['fastest'], limits: GPUSupportedLimits): Problem {
  if (problem.algorithm !== 'auto' || Object.keys(problem.variant).length > 0) return problem;
  const key = tuningClass(problem);
  const tuned = Object.hasOwn(fastest, key) ? fastest[key] : undefined;
  const { B, H, N, M } = problem;
  const isTooLarge = 4 * B * H * N * M > Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  if (!tuned || (tuned.algorithm === 'explicit' && isTooLarge)) return problem;
  return { ...problem, algorithm: tuned.algorithm, variant: tuned.variant, forcedBy: 'tuning' };
}
