/** The backward pass: its steps, its workspace, `Attention.backward`, and plans of both passes. Loaded when it is first used. */
import type { AttentionGradients, AttentionPlan, AttentionTensors, BackwardTensors } from '../contract/api.ts';
import { type BackwardProblem, type Given, normalizeBackward, splitVariant } from '../contract/backward-problem.ts';
import type { BackwardCall } from '../contract/calls.ts';
import { AttentionError, naming } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { dense } from '../contract/tensor.ts';
import type { Dispatch, Variant } from '../gpu/kernel.ts';
import { checkBinding, Program, type Step } from '../gpu/program.ts';
import type { Outputs, Session } from '../gpu/session.ts';
import { ROW_BYTES } from '../kernels/backward.ts';
import { flashBackwardDeltaDispatch } from '../kernels/flash_backward_delta.ts';
import { flashBackwardDkvDispatch } from '../kernels/flash_backward_dkv.ts';
import { flashBackwardDkvQuadDispatch } from '../kernels/flash_backward_dkv_quad.ts';
import { flashBackwardDkvRowDispatch } from '../kernels/flash_backward_dkv_row.ts';
import { flashBackwardDqDispatch } from '../kernels/flash_backward_dq.ts';
import { flashBackwardDqQuadDispatch } from '../kernels/flash_backward_dq_quad.ts';
import { flashBackwardDqRowDispatch } from '../kernels/flash_backward_dq_row.ts';
import { flashBackwardMaskDispatch } from '../kernels/flash_backward_mask.ts';
import { flashBackwardSinksDispatch } from '../kernels/flash_backward_sinks.ts';
import type { BackwardKernel } from '../kernels/variants.ts';
import { chooseBackwardTiles } from '../tiles/backward.ts';
import { type DeviceFacts, deviceFacts } from '../tiles/facts.ts';
import { checkAliasing } from './aliasing.ts';
import { bindTensors, type Expected } from './bind.ts';
import { checkFeatures, Plan } from './plan.ts';

const INPUTS = ['gradient', 'q', 'k', 'v', 'out', 'lse', 'mask', 'keyLengths', 'alibiSlopes', 'sinks'] as const;
const OUTPUTS = ['dq', 'dk', 'dv', 'dMask', 'dSinks'] as const;

/** Gradients may share a buffer, because no kernel reads one. The workspace may not: every kernel but the one that writes it reads it. */
const areApart = (output: string, other: string): boolean => output !== 'workspace' && other !== 'workspace';

const DISPATCH: Readonly<Record<BackwardKernel, (problem: BackwardProblem, variant: Variant, alignment: number) => Dispatch>> = {
  flash_backward_dq: flashBackwardDqDispatch,
  flash_backward_dq_row: flashBackwardDqRowDispatch,
  flash_backward_dq_quad: flashBackwardDqQuadDispatch,
  flash_backward_dkv: flashBackwardDkvDispatch,
  flash_backward_dkv_row: flashBackwardDkvRowDispatch,
  flash_backward_dkv_quad: flashBackwardDkvQuadDispatch,
  flash_backward_mask: flashBackwardMaskDispatch,
};

/** A backward problem made ready for one device, before anything is compiled. */
interface PreparedBackward {
  readonly problem: BackwardProblem;
  readonly steps: readonly Step[];
}

/** @throws AttentionError 'limit', 'option' for a wrong `variant`, 'unsupported' */
async function prepareBackward(caller: string, device: GPUDevice, problem: BackwardProblem): Promise<PreparedBackward> {
  checkFeatures(caller, problem, device);
  for (const name of [...INPUTS, ...OUTPUTS]) if (problem[name]) checkBinding(`${caller}: ${name}`, problem[name], device.limits);
  checkBinding(`${caller}: workspace`, workspaceOf(problem), device.limits);
  const facts = await deviceFacts(device);
  return { problem, steps: naming(caller, () => backwardSteps(problem, device, facts)) };
}

/** A prepared backward pass with a program compiled for its steps. */
export class BackwardPlan {
  readonly kernels: AttentionPlan['kernels'];
  readonly workspaceBytes: number;
  private readonly steps: readonly Step[];
  private readonly expected: Expected;
  private isDestroyed = false;

  constructor(
    private readonly session: Session,
    { problem, steps }: PreparedBackward,
    private readonly program: Program,
  ) {
    this.steps = steps;
    this.kernels = steps.map(({ kernel, variant, reason }) => ({ name: kernel.name, variant: { ...variant }, reason }));
    this.workspaceBytes = workspaceOf(problem).bytes;
    const tensors = [...INPUTS, ...OUTPUTS].map((name) => [name, problem[name]] as const);
    this.expected = { ...Object.fromEntries(tensors), workspace: this.workspaceBytes > 0 ? workspaceOf(problem) : undefined };
  }

  /** A plan with a new program. @throws AttentionError as `prepareBackward`; 'compile' */
  static async create(caller: string, session: Session, problem: BackwardProblem): Promise<BackwardPlan> {
    const prepared = await prepareBackward(caller, session.device, problem);
    return new BackwardPlan(session, prepared, await Program.create(caller, session.pool, prepared.steps));
  }

  encode(caller: string, pass: GPUComputePassEncoder, tensors: BackwardTensors): void {
    this.session.lifeline.check(caller);
    if (this.isDestroyed) throw new AttentionError('device-lost', `${caller}: this plan was destroyed`);
    const bound = bindTensors(caller, this.session, this.expected, tensors);
    checkAliasing(caller, bound, [...OUTPUTS, 'workspace'], areApart);
    const { workspace, keyLengths, alibiSlopes, dMask, dSinks, ...rest } = bound;
    const resources = { ...rest, rows: workspace, key_lengths: keyLengths, alibi_slopes: alibiSlopes, dmask: dMask, dsinks: dSinks };
    this.program.encode(caller, pass, this.steps, resources, this.session.absent);
  }

  destroy(): void {
    this.isDestroyed = true;
    this.program.destroy();
  }
}

/** The layout of the table `rows`, [B,H,N] entries of ROW_BYTES, as dense f32. */
const workspaceOf = ({ B, H, N }: Problem) => dense([(B * H * N * ROW_BYTES) / 4]);

/** First the kernel that fills the table `rows`, which every other kernel reads. Then the kernels of the gradients. */
function backwardSteps(problem: BackwardProblem, device: GPUDevice, facts: DeviceFacts): Step[] {
  const { minStorageBufferOffsetAlignment: alignment, maxComputeWorkgroupsPerDimension: maxWorkgroups } = device.limits;
  const tiles = Object.values(chooseBackwardTiles(problem, facts));
  return [
    { ...flashBackwardDeltaDispatch(problem, alignment, maxWorkgroups), reason: 'one table of what the other kernels need of a row' },
    ...tiles.map(({ kernel, variant, reason }) => ({ ...DISPATCH[kernel](problem, variant, alignment), reason })),
    ...(problem.dSinks ? [{ ...flashBackwardSinksDispatch(problem, alignment), reason: 'sinks are given' }] : []),
  ];
}

/** A plan of the forward and the backward pass. */
class TrainingPlan implements AttentionPlan {
  readonly kernels: AttentionPlan['kernels'];
  readonly workspaceBytes: number;

  constructor(
    private readonly forward: Plan,
    private readonly backward: BackwardPlan,
  ) {
    this.kernels = [...forward.kernels, ...backward.kernels];
    this.workspaceBytes = Math.max(forward.workspaceBytes, backward.workspaceBytes);
  }

  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void {
    this.forward.encode(pass, tensors);
  }

  encodeBackward(pass: GPUComputePassEncoder, tensors: BackwardTensors): void {
    this.backward.encode('encodeBackward', pass, tensors);
  }

  destroy(): void {
    this.forward.destroy();
    this.backward.destroy();
  }
}

/** `Attention.plan` of a checked problem with `backward`. @param adapted gives the problem the tuned variant where the caller forces none */
export async function planBothWays(
  session: Session,
  checked: Problem,
  gradients: Given,
  adapted: (problem: Problem) => Problem,
): Promise<AttentionPlan> {
  const caller = 'plan';
  const normal = { ...checked, returnLse: true };
  const variants = splitVariant(normal.variant);
  const backwardProblem = normalizeBackward(caller, { ...normal, variant: variants.backward, forcedBy: 'caller' }, gradients);
  const forwardPlan = await Plan.create(caller, session, adapted({ ...normal, variant: variants.forward }));
  try {
    return new TrainingPlan(forwardPlan, await BackwardPlan.create(caller, session, backwardProblem));
  } catch (error) {
    forwardPlan.destroy();
    throw error;
  }
}

const caller = 'backward';

/** The outputs of a call, by the plan's names. */
function outputsOf({ dMask, dSinks }: BackwardProblem, { q, k, v, mask, sinks }: BackwardCall['inputs']): Outputs {
  const f32 = (shape: readonly number[]) => ({ shape, dtype: 'f32' as const });
  return {
    ...{ dq: q, dk: k, dv: v },
    ...(dMask && mask && { dMask: f32(mask.shape) }),
    ...(dSinks && sinks && { dSinks: f32(sinks.shape) }),
  };
}

/** `Attention.backward`. The gradients are new tensors; the compiled program is kept for later calls. */
export async function attentionGradients(session: Session, call: BackwardCall): Promise<AttentionGradients> {
  const { inputs, maskGradient } = call;
  const problem = normalizeBackward(caller, call.problem, { gradient: inputs.gradient, lse: inputs.lse, maskGradient });
  for (const [name, tensor] of Object.entries(inputs)) session.checkInput(`${caller}: ${name}`, tensor);
  const run = async (prepared: PreparedBackward, program: Program): Promise<AttentionGradients> => {
    const plan = new BackwardPlan(session, prepared, program);
    const scratch = { workspace: { shape: [plan.workspaceBytes / 4], dtype: 'f32' as const } };
    const made = await session.compute(
      caller,
      inputs,
      { ...outputsOf(problem, inputs), ...scratch },
      (pass, { workspace, ...gradients }) => {
        const tensors = { ...inputs, ...gradients, workspace: workspace!.buffer };
        plan.encode(caller, pass, tensors as unknown as BackwardTensors);
      },
    );
    const { workspace, dq, dk, dv, dMask, dSinks } = made;
    session.pool.recycle(workspace!.buffer);
    return { q: dq!, k: dk!, v: dv!, ...(dMask && { mask: dMask }), ...(dSinks && { sinks: dSinks }) };
  };
  const prepared = await session.lifeline.wait(caller, prepareBackward(caller, session.device, problem));
  return session.withProgram(caller, prepared.steps, (program) => run(prepared, program));
}
