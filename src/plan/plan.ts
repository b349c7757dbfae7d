/** A problem compiled for one device, for callers who record into their own passes, on their own buffers. */

import { AttentionError, naming } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { describeLayout, type GpuTensor } from '../contract/tensor.ts';
import type { BufferPool } from '../gpu/buffers.ts';
import type { Lifeline } from '../gpu/device.ts';
import { type Absent, checkBinding, Program, type Step } from '../gpu/program.ts';
import { chooseAlgorithm } from '../tiles/facts.ts';
import { bindTensors, dense, type Expected } from './bind.ts';

/**
 * The tensors that a plan runs on: q, k, v and out as planned, the others where the problem has them. lse and scores are dense, and lie at
 * offsets that are multiples of minStorageBufferOffsetAlignment.
 */
export interface AttentionTensors {
  readonly q: GpuTensor;
  readonly k: GpuTensor;
  readonly v: GpuTensor;
  readonly out: GpuTensor;
  readonly lse?: GpuTensor; // [B,H,N]
  readonly scores?: GpuTensor; // [B,H,N,M]
  readonly mask?: GpuTensor;
  readonly keyLengths?: GpuTensor; // [B] or [B,1]
  readonly alibiSlopes?: GpuTensor; // [H]
  readonly sinks?: GpuTensor; // [H]
  /** At least `workspaceBytes`, usage STORAGE. Needed where that is above 0. */
  readonly workspace?: GPUBuffer;
}

/** What `encodeBackward` reads and writes. Dense where the plan was given no layout; lse and dSinks always. */
export interface BackwardTensors extends Omit<AttentionTensors, 'lse' | 'scores'> {
  readonly gradient: GpuTensor; // [B,H,N,Dv]
  readonly lse: GpuTensor; // [B,H,N]
  readonly dq: GpuTensor; // [B,H,N,D]
  readonly dk: GpuTensor; // [B,Hk,M,D]
  readonly dv: GpuTensor; // [B,Hk,M,Dv]
  readonly dMask?: GpuTensor; // f32, of the mask's shape: with `maskGradient`
  readonly dSinks?: GpuTensor; // f32 [H]: with sinks
}

/** Pipelines compiled and one uniform buffer written, two with `backward`; nothing else is allocated. */
export interface AttentionPlan {
  /** The kernels in the order of their dispatches, those of the backward pass last, with the values of their `const` lines and why they were chosen. */
  readonly kernels: readonly { name: string; variant: Record<string, number | boolean | string>; reason: string }[];
  /** Bytes of the `workspace` buffer that `encode` and `encodeBackward` need, the larger of the two; 0: none. */
  readonly workspaceBytes: number;
  /**
   * Records the dispatches into the caller's pass: no GPU memory is allocated, nothing submitted, mapped or copied. Sets the pass's pipeline and bind group 0.
   * @throws AttentionError 'shape' or 'dtype' when a tensor differs from the plan's in shape, strides, offset modulo
   *   minStorageBufferOffsetAlignment, or dtype; 'option' when one is missing or unknown, was released, belongs to another Attention, lacks
   *   usage STORAGE, or when an output or the workspace shares its GPUBuffer with an input; 'device-lost' after `destroy`
   */
  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void;
  /**
   * Records the backward pass of a problem with `backward`, like `encode`. The workspace need not be what `encode` left.
   * @throws AttentionError as `encode`; 'option' when the plan was made without `backward`
   */
  encodeBackward(pass: GPUComputePassEncoder, tensors: BackwardTensors): void;
  /** Frees the uniform buffers. A later `encode` throws 'device-lost'. */
  destroy(): void;
}

/** What a plan needs of its Attention. */
export interface PlanContext {
  readonly lifeline: Lifeline;
  readonly pool: BufferPool;
  readonly absent: Absent;
}

/** A problem made ready for one device, before anything is compiled. */
export interface Prepared {
  readonly problem: Problem;
  readonly steps: readonly Step[];
  readonly workspace: Workspace;
  /** What the same problem with more keys may need, where calls with more keys are to be expected. */
  readonly longer?: Pick<Prepared, 'steps' | 'workspace'>;
}

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

/** A prepared problem with a program that fits its steps. */
export class Plan implements AttentionPlan {
  readonly kernels: AttentionPlan['kernels'];
  readonly workspaceBytes: number;
  private readonly expected: Expected;
  private readonly steps: readonly Step[];
  private readonly layout: Workspace;
  private isDestroyed = false;

  constructor(
    private readonly context: PlanContext,
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

  /** With a program of its own. @throws AttentionError as `prepare`; 'limit' for too large a grid, 'compile' */
  static async create(caller: string, context: PlanContext, problem: Problem): Promise<Plan> {
    const prepared = await prepare(caller, context.lifeline.device, problem);
    return new Plan(context, prepared, await Program.create(caller, context.pool, prepared.steps));
  }

  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void {
    this.context.lifeline.check('encode');
    if (this.isDestroyed) throw new AttentionError('device-lost', 'encode: this plan was destroyed');
    const bound = bindTensors('encode', this.context, this.expected, tensors);
    checkAliasing(bound, this.layout.resource);
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
      this.context.absent,
    );
  }

  encodeBackward(): void {
    this.context.lifeline.check('encodeBackward');
    throw new AttentionError('option', 'encodeBackward: this plan was made without backward: true');
  }

  destroy(): void {
    this.isDestroyed = true;
    this.program.destroy();
  }
}

/** What lies in the workspace. */
export interface Workspace {
  readonly resource: 'weights' | 'heads' | 'splits' | undefined;
  readonly bytes: number;
  readonly statsOffset?: number; // of the splits
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

/** WebGPU forbids one buffer as input and output of a dispatch, even in disjoint ranges. */
function checkAliasing(bound: Readonly<Record<string, Required<GPUBufferBinding>>>, resource: Workspace['resource']): void {
  const isRead = resource === 'heads' || resource === 'splits'; // the workspace, by the kernel that writes lse
  for (const [output, a] of Object.entries(bound).filter(([name]) => OUTPUTS.includes(name))) {
    for (const [other, b] of Object.entries(bound)) {
      if (other === output || a.buffer !== b.buffer || a.size === 0 || b.size === 0) continue;
      const isOverlap = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
      const isReadBack = (output === 'out' && READ_BACK.includes(other)) || (isRead && output === 'lse' && other === 'workspace');
      if (!OUTPUTS.includes(other) || isReadBack || isOverlap) {
        throw new AttentionError(
          'option',
          `encode: ${output} shares its GPUBuffer with ${other}: WebGPU needs another buffer for an output`,
        );
      }
    }
  }
}
