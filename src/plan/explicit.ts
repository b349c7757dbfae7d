/** The steps and the workspace of the three explicit kernels. Loaded with the first problem that takes them. */
import { naming } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { dense } from '../contract/tensor.ts';
import type { Step } from '../gpu/program.ts';
import { contextDispatch } from '../kernels/context.ts';
import { scoresDispatch } from '../kernels/scores.ts';
import { softmaxDispatch } from '../kernels/softmax.ts';
import { chooseExplicitTiles } from '../tiles/explicit.ts';
import { basicFacts } from '../tiles/facts.ts';
import type { Prepared, Workspace } from './workspace.ts';

/** @throws AttentionError 'option' or 'limit' for a wrong `variant` */
export function planExplicit(caller: string, problem: Problem, device: GPUDevice, why: string): Omit<Prepared, 'problem'> {
  return { steps: naming(caller, () => explicitSteps(problem, device, why)), workspace: explicitWorkspace(problem) };
}

/** The softmax turns the N×M scores into weights in place. They lie in a tensor that is returned, or else in the workspace. */
function explicitWorkspace(problem: Problem): Workspace {
  const { B, H, N, M } = problem;
  if (problem.returnWeights || problem.returnScores === 'weights') return { resource: undefined, bytes: 0 };
  return { resource: 'weights', bytes: dense([B, H, N, M]).bytes };
}

/** The steps: scores, softmax in place, context. Scores to return are computed into another tensor before them. */
function explicitSteps(problem: Problem, device: GPUDevice, why: string): Step[] {
  const tiles = chooseExplicitTiles(problem, basicFacts(device));
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  const steps: Step[] = [];
  const { returnScores } = problem;
  if (returnScores !== undefined && returnScores !== 'weights') {
    const dispatch = scoresDispatch(problem, tiles.scores.variant, alignment, returnScores);
    steps.push({ ...dispatch, reason: `${why}; ${tiles.scores.reason}` });
  }
  const resources = { scores: 'weights' };
  steps.push(
    { ...scoresDispatch(problem, tiles.scores.variant, alignment, 'masked'), resources, reason: `${why}; ${tiles.scores.reason}` },
    { ...softmaxDispatch(problem, tiles.softmax.variant, alignment), resources, reason: `${why}; ${tiles.softmax.reason}` },
    { ...contextDispatch(problem, tiles.context.variant, alignment), reason: `${why}; ${tiles.context.reason}` },
  );
  return steps;
}
