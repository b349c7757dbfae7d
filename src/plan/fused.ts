/** The fused pass: its steps and its workspace. Loaded when the first problem takes it. */
import { naming } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import type { Step } from '../gpu/program.ts';
import { flashDecode, flashDecodeDispatch, splitsLayout } from '../kernels/flash_decode.ts';
import { flashForwardDispatch } from '../kernels/flash_forward.ts';
import { flashForwardQuadDispatch } from '../kernels/flash_forward_quad.ts';
import { flashForwardRowDispatch } from '../kernels/flash_forward_row.ts';
import { mergeSplitsDispatch } from '../kernels/flash_merge.ts';
import { needsHeadsTable } from '../kernels/forward.ts';
import { headsDispatch } from '../kernels/heads.ts';
import { type DeviceFacts, deviceFacts } from '../tiles/facts.ts';
import { chooseFusedTiles } from '../tiles/fused.ts';
import type { Prepared, Workspace } from './workspace.ts';

/** Keys of a problem that is as long as any. */
const MOST_KEYS = 2 ** 28;

/** @throws AttentionError 'option' or 'limit' for a wrong `variant`, 'unsupported' */
export async function planFused(caller: string, problem: Problem, device: GPUDevice, why: string): Promise<Omit<Prepared, 'problem'>> {
  const facts = await deviceFacts(device);
  const plan = (of: Problem): Omit<Prepared, 'problem'> => {
    const steps = fusedSteps(of, device, why, facts);
    return { steps, workspace: fusedWorkspace(of, steps) };
  };
  return naming(caller, () => {
    const own = plan(problem);
    // A decoder's keys grow by one at each call: what it will need once they are split is got ready at its first.
    return problem.N === 1 && own.steps.some(({ kernel }) => kernel === flashDecode)
      ? { ...own, longer: plan({ ...problem, M: MOST_KEYS }) }
      : own;
  });
}

const FUSED_DISPATCH = {
  flash_forward: flashForwardDispatch,
  flash_forward_quad: flashForwardQuadDispatch,
  flash_forward_row: flashForwardRowDispatch,
  flash_decode: flashDecodeDispatch,
};

const splitsOf = (steps: readonly Step[]): number => Math.max(1, ...steps.map(({ settings }) => Number(settings?.SPLITS ?? 1)));

/** One pass over the keys; before it, slopes and sinks in one table where there are both; after it, where the keys were split, the parts' merge. */
function fusedSteps(problem: Problem, device: GPUDevice, why: string, facts: DeviceFacts): Step[] {
  const { kernel, variant, reason } = chooseFusedTiles(problem, facts);
  const { minStorageBufferOffsetAlignment: alignment, maxComputeWorkgroupsPerDimension: maxWorkgroups } = device.limits;
  const flash: Step = { ...FUSED_DISPATCH[kernel](problem, variant, alignment), reason: `${why}; ${reason}` };
  const splits = splitsOf([flash]);
  if (splits > 1) {
    const merge = mergeSplitsDispatch(problem, splits, alignment, maxWorkgroups);
    return [
      { ...flash, resources: { out: 'parts', lse: 'stats' } },
      { ...merge, reason: `${splits} splits of the keys`, resources: { a_out: 'parts', a_lse: 'stats' } },
    ];
  }
  if (!needsHeadsTable(problem)) return [flash];
  return [{ ...headsDispatch(problem, alignment), reason: 'alibiSlopes and sinks in one table' }, flash];
}

/** The parts of flash_decode's splits; or one row a head, where slopes and sinks have to share a binding. */
function fusedWorkspace(problem: Problem, steps: readonly Step[]): Workspace {
  const splits = splitsOf(steps);
  if (splits > 1) {
    const { statsOffset, statsBytes } = splitsLayout(problem, splits);
    return { resource: 'splits', bytes: statsOffset + statsBytes, statsOffset };
  }
  return needsHeadsTable(problem) ? { resource: 'heads', bytes: 8 * problem.H } : { resource: undefined, bytes: 0 };
}
