/** The steps and the workspace of the fused pass. Loaded with the first problem that takes it. */
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

/** The largest number of keys that a problem may have. */
const MOST_KEYS = 2 ** 28;

/** @throws AttentionError 'option' or 'limit' for a wrong `variant`, 'unsupported' */
export async function planFused(caller: string, problem: Problem, device: GPUDevice, why: string): Promise<Omit<Prepared, 'problem'>> {
  const facts = await deviceFacts(device);
  const plan = (of: Problem): Omit<Prepared, 'problem'> => {
    const steps = fusedSteps(of, device, why, facts);
    return { steps, workspace: fusedWorkspace(of, steps) };
  };
  return naming(caller, () => {
    const planned = plan(problem);
    // A decoder has one key more at each call. The steps for many keys, in splits, are prepared at its first call, so that no later call has to compile them.
    return problem.N === 1 && planned.steps.some(({ kernel }) => kernel === flashDecode)
      ? { ...planned, longer: plan({ ...problem, M: MOST_KEYS }) }
      : planned;
  });
}

const FUSED_DISPATCH = {
  flash_forward: flashForwardDispatch,
  flash_forward_quad: flashForwardQuadDispatch,
  flash_forward_row: flashForwardRowDispatch,
  flash_decode: flashDecodeDispatch,
};

const splitsOf = (steps: readonly Step[]): number => Math.max(1, ...steps.map(({ settings }) => Number(settings?.SPLITS ?? 1)));

/**
 * The steps: one pass over the keys. Where the keys are split, flash_merge follows and merges the splits' parts. Where there are slopes and sinks, and
 * no split, the kernel `heads` runs first and puts both into one table.
 */
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

/** The workspace holds the parts of flash_decode's splits, or the table [H,2] of slopes and sinks, or nothing. */
function fusedWorkspace(problem: Problem, steps: readonly Step[]): Workspace {
  const splits = splitsOf(steps);
  if (splits > 1) {
    const { statsOffset, statsBytes } = splitsLayout(problem, splits);
    return { resource: 'splits', bytes: statsOffset + statsBytes, statsOffset };
  }
  return needsHeadsTable(problem) ? { resource: 'heads', bytes: 8 * problem.H } : { resource: undefined, bytes: 0 };
}
