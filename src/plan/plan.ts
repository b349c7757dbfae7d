/** A problem compiled for one device. Callers record it into their own passes, on their own buffers. */
import type { AttentionPlan, AttentionTensors } from '../contract/api.ts';
import { AttentionError, naming } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { dense, describeLayout } from '../contract/tensor.ts';
import { checkBinding, Program, type Step } from '../gpu/program.ts';
import type { Session } from '../gpu/session.ts';
import { chooseAlgorithm } from '../tiles/algorithm.ts';
import { checkAliasing } from './aliasing.ts';
import { bindTensors, type Expected } from './bind.ts';
import type { Prepared, Workspace } from './workspace.ts';

/** @throws AttentionError 'limit' when a tensor is larger than the device allows, 'option' for a wrong `variant`, 'unsupported' */
export async function prepare(caller: string, device: GPUDevice, problem: Problem): Promise<Prepared> {
  const { q, k, v, mask, keyLengths, alibiSlopes, sinks, out } = problem;
  checkFeatures(caller, problem, device);
  const { algorithm, reason } = naming(caller, () => chooseAlgorithm(problem));
  const isExplicit = algorithm === 'explicit';
  const { B, H, N, M } = problem;
  const scores = isExplicit ? dense([B, H, N, M]) : undefined;
  for (const [name, layout] of Object.entries({ q, k, v, mask, keyLengths, alibiSlopes, sinks, out, scores })) {
    if (layout) checkBinding(`${caller}: ${name}`, layout, device.limits);
  }
  if (isExplicit) return { problem, ...(await import('./explicit.ts')).planExplicit(caller, problem, device, reason) };
  return { problem, ...(await (await import('./fused.ts')).planFused(caller, problem, device, reason)) };
}

/** A prepared problem with a program compiled for its steps. */
export class Plan implements AttentionPlan {
  readonly kernels: AttentionPlan['kernels'];
  readonly workspaceBytes: number;
  private readonly expected: Expected;
  private readonly steps: readonly Step[];
  private readonly layout: Workspace;
  private isDestroyed = false;

  constructor(
    private readonly session: Session,
    { problem, steps, workspace }: Prepared,
    private readonly program: Program,
  ) {
    this.steps = steps;
    const { B, H, N, M, q, k, v, mask, keyLengths, alibiSlopes, sinks, out } = problem;
    this.kernels = steps.map(({ kernel, variant, settings, reason }) => ({
      name: kernel.name,
      variant: { ...settings, ...variant },
      reason,
    }));
    this.layout = workspace;
    this.workspaceBytes = workspace.bytes;
    this.expected = {
      ...{ q, k, v, mask, keyLengths, alibiSlopes, sinks, out },
      lse: problem.returnLse ? dense([B, H, N]) : undefined,
      scores: problem.returnScores ? dense([B, H, N, M]) : undefined,
      weights: problem.returnWeights ? dense([B, H, N, M]) : undefined,
      workspace: workspace.bytes > 0 ? dense([workspace.bytes / 4]) : undefined,
    };
  }

  /** A plan with a new program. @throws AttentionError as `prepare`; 'limit' for too large a grid, 'compile' */
  static async create(caller: string, session: Session, problem: Problem): Promise<Plan> {
    const prepared = await prepare(caller, session.device, problem);
    return new Plan(session, prepared, await Program.create(caller, session.pool, prepared.steps));
  }

  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void {
    this.session.lifeline.check('encode');
    if (this.isDestroyed) throw new AttentionError('device-lost', 'encode: this plan was destroyed');
    const bound = bindTensors('encode', this.session, this.expected, tensors);
    checkAliasing('encode', bound, OUTPUTS, (output, other) => areApart(output, other, this.layout));
    const { workspace: scratch, alibiSlopes } = bound;
    const { resource, statsOffset = 0 } = this.layout;
    const parts = resource === 'splits' ? scratch : undefined;
    this.program.encode(
      'encode',
      pass,
      this.steps,
      {
        ...{ ...bound, key_lengths: bound.keyLengths, alibi_slopes: alibiSlopes },
        heads: resource === 'heads' ? scratch : (alibiSlopes ?? bound.sinks),
        weights: resource === 'weights' ? scratch : (bound.weights ?? bound.scores),
        parts: parts && { ...parts, size: statsOffset },
        stats: parts && { ...parts, offset: parts.offset + statsOffset, size: parts.size - statsOffset },
      },
      this.session.absent,
    );
  }

  encodeBackward(): void {
    this.session.lifeline.check('encodeBackward');
    throw new AttentionError('option', 'encodeBackward: this plan was made without backward: true');
  }

  destroy(): void {
    this.isDestroyed = true;
    this.program.destroy();
  }
}

/** @throws AttentionError 'unsupported' when the device lacks a feature that the problem needs */
export function checkFeatures(caller: string, { q, k }: Problem, device: GPUDevice): void {
  const half = Object.entries({ q, k }).find(([, { dtype }]) => dtype === 'f16');
  if (half && !device.features.has('shader-f16')) {
    throw new AttentionError(
      'unsupported',
      `${caller}: ${half[0]} is ${describeLayout(half[1])}: this device lacks the feature shader-f16`,
    );
  }
}

const OUTPUTS = ['out', 'lse', 'scores', 'weights', 'workspace'];
/** Outputs that a later kernel reads. */
const READ_BACK = ['scores', 'weights', 'workspace'];

/** Whether two outputs may share a buffer: true where no kernel reads one and writes the other. */
function areApart(output: string, other: string, { resource }: Workspace): boolean {
  if (output === 'out') return !READ_BACK.includes(other);
  const lseReadsWorkspace = resource === 'heads' || resource === 'splits'; // the kernel that writes lse reads the workspace
  return !(lseReadsWorkspace && output === 'lse' && other === 'workspace');
}
