/** Runs a problem, or plans it for a caller. Both use the variant that `tune` measured for the problem's class, where there is one. */
import type { AttentionOutput, AttentionPlan, AttentionTensors } from '../contract/api.ts';
import { readBackward } from '../contract/calls.ts';
import type { AttentionProblem } from '../contract/options.ts';
import { normalize, PROBLEM_KEYS, type Problem } from '../contract/problem.ts';
import { readOptions } from '../contract/record.ts';
import type { GpuTensor } from '../contract/tensor.ts';
import type { Program } from '../gpu/program.ts';
import type { Session } from '../gpu/session.ts';
import { Plan, prepare } from './plan.ts';
import { withTuning } from './tuning.ts';
import type { Prepared } from './workspace.ts';

export type Inputs = Omit<AttentionTensors, 'out' | 'lse' | 'scores' | 'workspace'>;

/** Runs a checked problem. The outputs are new tensors; the program comes from the cache. */
export async function attend(
  session: Session,
  caller: string,
  given: Problem,
  inputs: Inputs,
): Promise<AttentionOutput & { weights?: GpuTensor }> {
  session.lifeline.check(caller);
  const problem = withTuning(given, session.tuned, session.device.limits);
  for (const [name, tensor] of Object.entries(inputs)) session.checkInput(`${caller}: ${name}`, tensor);
  const { B, H, N, M, out } = problem;
  const run = async (prepared: Prepared, program: Program) => {
    const plan = new Plan(session, prepared, program);
    // As large as later calls with more keys need, so that the pool gives the same buffer to them.
    const workspaceBytes = Math.max(plan.workspaceBytes, prepared.longer?.workspace.bytes ?? 0);
    const f32 = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
    const outputs = {
      out: { shape: out.shape, dtype: out.dtype },
      ...(problem.returnLse && { lse: f32(B, H, N) }),
      ...(problem.returnScores && { scores: f32(B, H, N, M) }),
      ...(problem.returnWeights && { weights: f32(B, H, N, M) }),
      ...(workspaceBytes > 0 && { workspace: f32(workspaceBytes / 4) }),
    };
    const made = await session.compute(caller, inputs, outputs, (pass, tensors) => {
      const { workspace, ...results } = tensors;
      const strided = { ...results.out!, strides: out.strides };
      plan.encode(pass, { ...inputs, ...results, out: strided, ...(workspace && { workspace: workspace.buffer }) });
    });
    const { workspace, ...results } = made;
    if (workspace) session.pool.recycle(workspace.buffer);
    return { ...results, out: made.out! };
  };
  const prepared = await session.lifeline.wait(caller, prepare(caller, session.device, problem));
  // Compiled ahead of need. A failure is ignored here: a later call that needs the program reports it.
  if (prepared.longer) void session.withProgram(caller, prepared.longer.steps, async () => {}).catch(() => {});
  return session.withProgram(caller, prepared.steps, (program) => run(prepared, program));
}

/** `Attention.plan`. The code of the backward pass is loaded with the first plan that has `backward`. */
export async function planProblem(session: Session, problem: AttentionProblem): Promise<AttentionPlan> {
  const { lifeline, device } = session;
  lifeline.check('plan');
  const tuned = (normal: Problem) => withTuning(normal, session.tuned, device.limits);
  const { backward, ...given } = readOptions('plan', problem, PROBLEM_KEYS);
  if (backward === undefined) return lifeline.wait('plan', Plan.create('plan', session, tuned(normalize('plan', given))));
  const { maskGradient, ...forward } = given;
  const gradients = { ...readBackward('plan', backward), maskGradient };
  const normal = normalize('plan', forward);
  const { planBothWays } = await import('./backward.ts');
  return lifeline.wait('plan', planBothWays(session, normal, gradients, tuned));
}
