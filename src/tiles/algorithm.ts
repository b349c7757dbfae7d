/** Which of the two algorithms computes a problem. */
import { AttentionError, quote } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';

const MAX_FUSED_HEAD = 256; // the largest D and Dv of the fused kernels

/** Chooses fused wherever the fused kernels can compute the problem. @throws AttentionError 'unsupported' when fused was asked for and they cannot */
export function chooseAlgorithm(problem: Problem): { algorithm: 'explicit' | 'fused'; reason: string } {
  const { D, Dv, returnScores, returnWeights, algorithm, forcedBy } = problem;
  const obstacle =
    returnScores !== undefined || returnWeights
      ? `returnScores is ${quote(returnScores ?? 'weights')}, and the fused pass never has the N×M scores`
      : Math.max(D, Dv) > MAX_FUSED_HEAD
        ? `D is ${D} and Dv ${Dv}, and the fused pass takes ${MAX_FUSED_HEAD} at most`
        : undefined;
  const why = forcedBy === 'tuning' ? 'the fastest that tune measured' : `${algorithm} was asked for`;
  if (algorithm === 'explicit') return { algorithm, reason: why };
  if (obstacle === undefined) return { algorithm: 'fused', reason: algorithm === 'fused' ? why : 'auto takes fused' };
  if (algorithm === 'fused') throw new AttentionError('unsupported', `algorithm is "fused": ${obstacle}`);
  return { algorithm: 'explicit', reason: `auto takes explicit: ${obstacle}` };
}
