/** The results of `tune`, plain JSON by class of problems, and how later problems use them. */
import type { Tuning } from '../contract/api.ts';
import { isVec4, type Problem, UNLIMITED } from '../contract/problem.ts';

/**
 * The class of a problem, as text. One measurement serves all problems of a class. They have the same head counts, head sizes and types, the same options
 * that change the time, and batch sizes and lengths that round up to the same power of two. Of offsets and strides only one fact counts: whether they allow
 * access to whole vec4.
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
 * The problem with the variant that was measured for its class. The problem stays unchanged where nothing was measured, where the caller forces an algorithm
 * or a variant, and where explicit was fastest but this problem's N×M scores do not fit a binding.
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
