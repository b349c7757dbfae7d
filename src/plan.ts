/** A problem compiled for one device, for callers who record into their own passes, on their own buffers. */
import type { BufferPool } from './buffers.ts';
import type { Lifeline } from './device.ts';
import { AttentionError, quote } from './errors.ts';
import { contextDispatch } from './kernels/context.ts';
import { flashForwardDispatch, needsHeadsTable } from './kernels/flash_forward.ts';
import { flashForwardQuadDispatch } from './kernels/flash_forward_quad.ts';
import { flashForwardRowDispatch } from './kernels/flash_forward_row.ts';
import { headsDispatch } from './kernels/heads.ts';
import { scoresDispatch } from './kernels/scores.ts';
import { softmaxDispatch } from './kernels/softmax.ts';
import { hasOrderedQuads } from './probe.ts';
import type { Problem } from './problem.ts';
import { type Absent, bindingOf, checkBinding, Program, type Step } from './program.ts';
import { byteLength, checkLayout, describeLayout, type GpuTensor, type Layout, rowMajor, sameLayout } from './tensor.ts';
import { chooseAlgorithm, chooseExplicitTiles, chooseFusedTiles, deviceFacts } from './tiles.ts';

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
  readonly keyLengths?: GpuTensor; // [B]
  readonly alibiSlopes?: GpuTensor; // [H]
  readonly sinks?: GpuTensor; // [H]
  /** At least `workspaceBytes`, usage STORAGE. Needed where that is above 0. */
  readonly workspace?: GPUBuffer;
}

/** Pipelines compiled and one uniform buffer written; nothing else is allocated. */
export interface AttentionPlan {
  /** The kernels in the order of their dispatches, with the values of their `const` lines and why they were chosen. */
  readonly kernels: readonly { name: string; variant: Record<string, number | boolean | string>; reason: string }[];
  /** Bytes of the `workspace` buffer that `encode` needs; 0: none. */
  readonly workspaceBytes: number;
  /**
   * Records the dispatches into the caller's pass: no GPU memory is allocated, nothing submitted, mapped or copied. Sets the pass's pipeline and bind group 0.
   * @throws AttentionError 'shape' or 'dtype' when a tensor differs from the plan's in shape, strides, offset modulo
   *   minStorageBufferOffsetAlignment, or dtype; 'option' when one is missing or unknown, was released, belongs to another Attention, lacks
   *   usage STORAGE, or when an output or the workspace shares its GPUBuffer with an input; 'device-lost' after `destroy`
   */
  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void;
  /** Not supported yet: throws AttentionError 'unsupported'. */
  encodeBackward(pass: GPUComputePassEncoder, tensors: unknown): never;
  /** Frees the uniform buffer. A later `encode` throws 'device-lost'. */
  destroy(): void;
}

/** What a plan needs of its Attention. */
export interface PlanContext {
  readonly lifeline: Lifeline;
  readonly pool: BufferPool;
  readonly absent: Absent;
}

/** Problems with the same key share a plan: buffers are bound at multiples of the alignment, so only the rest of an offset counts. */
export function planKey(problem: Problem, alignment: number): string {
  const rest = (value: unknown) =>
    value !== null && typeof value === 'object' && 'offset' in value ? { ...value, offset: Number(value.offset) % alignment } : value;
  return JSON.stringify(problem, (_, value) => rest(value));
}

export class Plan implements AttentionPlan {
  readonly kernels: AttentionPlan['kernels'];
  readonly workspaceBytes: number;
  private readonly expected: Readonly<Record<string, Layout | undefined>>;
  private isDestroyed = false;

  private constructor(
    private readonly context: PlanContext,
    problem: Problem,
    private readonly program: Program,
    private readonly layout: Workspace,
  ) {
    const { B, H, N, M, q, k, v, mask, keyLengths, alibiSlopes, sinks, out } = problem;
    this.kernels = program.steps.map(({ kernel, variant, reason }) => ({ name: kernel.name, variant: { ...variant }, reason }));
    this.workspaceBytes = layout.bytes;
    this.expected = {
      ...{ q, k, v, mask, keyLengths, alibiSlopes, sinks, out },
      lse: problem.returnLse ? dense([B, H, N]) : undefined,
      scores: problem.returnScores ? dense([B, H, N, M]) : undefined,
      weights: problem.returnWeights ? dense([B, H, N, M]) : undefined,
      workspace: layout.bytes > 0 ? dense([layout.bytes / 4]) : undefined,
    };
  }

  /** @throws AttentionError 'limit' when a tensor or a grid is larger than the device allows, 'option' for a wrong `variant`, 'unsupported', 'compile' */
  static async create(caller: string, context: PlanContext, problem: Problem): Promise<Plan> {
    const { device } = context.lifeline;
    const { q, k, v, mask, keyLengths, alibiSlopes, sinks, out } = problem;
    checkFeatures(caller, problem, device);
    const { algorithm, reason } = chooseAlgorithm(problem);
    const isExplicit = algorithm === 'explicit';
    const scores = isExplicit ? weightsLayout(problem) : undefined;
    for (const [name, layout] of Object.entries({ q, k, v, mask, keyLengths, alibiSlopes, sinks, out, scores })) {
      if (layout) checkBinding(`${caller}: ${name}`, layout, device.limits);
    }
    const steps = isExplicit ? explicitSteps(problem, device, reason) : fusedSteps(problem, device, reason, await hasOrderedQuads(device));
    const program = await Program.create(caller, context.pool, steps);
    return new Plan(context, problem, program, isExplicit ? explicitWorkspace(problem) : fusedWorkspace(problem));
  }

  encode(pass: GPUComputePassEncoder, tensors: AttentionTensors): void {
    this.context.lifeline.check('encode');
    if (this.isDestroyed) throw new AttentionError('device-lost', 'encode: this plan was destroyed');
    if (tensors === null || typeof tensors !== 'object')
      throw new AttentionError('option', `encode: tensors are ${quote(tensors)}: need { q, k, v, out, … }`);
    const { workspace, ...rest } = tensors;
    const given: Record<string, GpuTensor | undefined> = { ...rest };
    if (workspace !== undefined) given.workspace = { buffer: workspace, ...(this.expected.workspace ?? dense([1])) };
    const unknown = Object.keys(given).find((name) => !(name in this.expected));
    if (unknown !== undefined)
      throw new AttentionError('option', `encode: unknown tensor ${quote(unknown)}: known are ${Object.keys(this.expected).join(', ')}`);

    const bound: Record<string, Required<GPUBufferBinding>> = {};
    for (const [name, layout] of Object.entries(this.expected)) {
      const tensor = given[name];
      if (layout && !tensor) throw new AttentionError('option', `encode: ${name} is missing: the plan needs ${describeLayout(layout)}`);
      if (layout && tensor) bound[name] = this.bind(name, tensor, layout);
      if (!layout && tensor && name !== 'workspace')
        throw new AttentionError('option', `encode: got ${name}, but the plan was made without it`);
    }
    checkAliasing(bound);
    const { workspace: scratch, alibiSlopes } = bound;
    const { resource } = this.layout;
    this.program.encode(
      pass,
      {
        ...{ ...bound, key_lengths: bound.keyLengths, alibi_slopes: alibiSlopes },
        heads: resource === 'heads' ? scratch : (alibiSlopes ?? bound.sinks),
        weights: resource === 'weights' ? scratch : (bound.weights ?? bound.scores),
      },
      this.context.absent,
    );
  }

  encodeBackward(): never {
    this.context.lifeline.check('encodeBackward');
    throw new AttentionError('unsupported', 'encodeBackward: not supported yet');
  }

  destroy(): void {
    this.isDestroyed = true;
    this.program.destroy();
  }

  /** Checks a tensor against the plan's layout and gives what to bind. */
  private bind(name: string, tensor: GpuTensor, expected: Layout): Required<GPUBufferBinding> {
    const { pool, lifeline } = this.context;
    const what = `encode: ${name}`;
    const alignment = lifeline.device.limits.minStorageBufferOffsetAlignment;
    const layout = checkLayout(what, tensor, 'input');
    const compared = name === 'mask' ? padRank(layout, expected) : layout;
    if (layout.dtype !== expected.dtype)
      throw new AttentionError('dtype', `${what} is ${describeLayout(layout)}, the plan has ${describeLayout(expected)}`);
    if (!sameLayout(compared, expected, alignment)) {
      const offsets = `offsets modulo ${alignment}: ${layout.offset % alignment} and ${expected.offset % alignment}`;
      throw new AttentionError('shape', `${what} is ${describeLayout(layout)}, the plan has ${describeLayout(expected)} (${offsets})`);
    }
    pool.check(what, tensor, layout, 'STORAGE');
    return bindingOf(tensor.buffer, layout, alignment);
  }
}

const dense = (shape: readonly number[]): Layout => ({
  shape,
  dtype: 'f32',
  offset: 0,
  strides: rowMajor(shape),
  bytes: byteLength(shape, 'f32'),
});
const weightsLayout = ({ B, H, N, M }: Problem): Layout => dense([B, H, N, M]);

/** What lies in the workspace. */
interface Workspace {
  readonly resource: 'weights' | 'heads' | undefined;
  readonly bytes: number;
}

/** Scores become weights in a tensor that is returned, or in the workspace. */
function explicitWorkspace(problem: Problem): Workspace {
  if (problem.returnWeights || problem.returnScores === 'weights') return { resource: undefined, bytes: 0 };
  return { resource: 'weights', bytes: weightsLayout(problem).bytes };
}

/** One row a head, where slopes and sinks have to share a binding. */
function fusedWorkspace(problem: Problem): Workspace {
  return needsHeadsTable(problem) ? { resource: 'heads', bytes: 8 * problem.H } : { resource: undefined, bytes: 0 };
}

/** @throws AttentionError 'unsupported' when the device lacks a feature that the problem needs */
function checkFeatures(caller: string, { q, k }: Problem, device: GPUDevice): void {
  const half = Object.entries({ q, k }).find(([, { dtype }]) => dtype === 'f16');
  if (half && !device.features.has('shader-f16')) {
    throw new AttentionError(
      'unsupported',
      `${caller}: ${half[0]} is ${describeLayout(half[1])}: this device lacks the feature shader-f16`,
    );
  }
}

const FUSED_DISPATCH = {
  flash_forward: flashForwardDispatch,
  flash_forward_quad: flashForwardQuadDispatch,
  flash_forward_row: flashForwardRowDispatch,
};

/** One pass over the keys; before it, slopes and sinks in one table where there are both. */
function fusedSteps(problem: Problem, device: GPUDevice, why: string, hasQuads: boolean): Step[] {
  const { kernel, variant, reason } = chooseFusedTiles(problem, deviceFacts(device, hasQuads));
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  const flash: Step = { ...FUSED_DISPATCH[kernel](problem, variant, alignment), reason: `${why}; ${reason}` };
  if (!needsHeadsTable(problem)) return [flash];
  return [{ ...headsDispatch(problem, alignment), reason: 'alibiSlopes and sinks in one table' }, flash];
}

/** Scores, softmax in place, context. Scores that are returned are computed into a tensor of their own first. */
function explicitSteps(problem: Problem, device: GPUDevice, why: string): Step[] {
  const tiles = chooseExplicitTiles(problem, deviceFacts(device, false));
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

const OUTPUTS = ['out', 'lse', 'scores', 'weights', 'workspace'];
/** Outputs that a later kernel reads. */
const READ_BACK = ['scores', 'weights', 'workspace'];

/** WebGPU forbids one buffer as input and output of a dispatch, even in disjoint ranges. */
function checkAliasing(bound: Readonly<Record<string, Required<GPUBufferBinding>>>): void {
  for (const [output, a] of Object.entries(bound).filter(([name]) => OUTPUTS.includes(name))) {
    for (const [other, b] of Object.entries(bound)) {
      if (other === output || a.buffer !== b.buffer) continue;
      const isOverlap = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
      if (!OUTPUTS.includes(other) || (output === 'out' && READ_BACK.includes(other)) || isOverlap) {
        throw new AttentionError(
          'option',
          `encode: ${output} shares its GPUBuffer with ${other}: WebGPU needs another buffer for an output`,
        );
      }
    }
  }
}

/** A mask's layout with as many dimensions as the problem's. */
function padRank(layout: Layout, expected: Layout): Layout {
  const missing = Math.max(0, expected.shape.length - layout.shape.length);
  return {
    ...layout,
    shape: [...new Array<number>(missing).fill(1), ...layout.shape],
    strides: [...new Array<number>(missing).fill(0), ...layout.strides],
  };
}
