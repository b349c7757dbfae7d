/** createAttention and the Attention object: check, plan, encode, submit. */
import type {
  Attention,
  AttentionGradients,
  AttentionOutput,
  BackwardOptions,
  CreateAttentionOptions,
  ForwardResult,
  ProjectionGradients,
  TuneOptions,
} from './api.ts';
import type { BackwardPlan } from './backward.ts';
import { BufferPool } from './buffers.ts';
import { Cache } from './cache.ts';
import { checkDevice, Lifeline, requestDevice } from './device.ts';
import { AttentionError, quote } from './errors.ts';
import type { HostData } from './host-data.ts';
import { flashMergeDispatch, normalizeParts, type Part } from './kernels/flash_merge.ts';
import { normalizeProjection, projectDispatch } from './kernels/project.ts';
import type { AttentionOptions, AttentionProblem } from './options.ts';
import { type AttentionPlan, type AttentionTensors, Plan, type PlanContext, planKey } from './plan.ts';
import { checkKeys, normalize, OPTIONS, type Problem } from './problem.ts';
import { type Absent, bindingOf, checkBinding, Program, type Step } from './program.ts';
import { checkLayout, type DType, type GpuTensor, type HostTensor } from './tensor.ts';
import { chooseProjectTiles, deviceFacts } from './tiles.ts';
import { checkTuning, describeAdapter, NO_TUNING, type Tuning, tuningClass, withTuning } from './tuning.ts';

const PLANS = 16; // compiled problems that calls keep, each with a uniform buffer of about 1 KB

/**
 * Attention on a device of its own, or on the caller's.
 * @throws AttentionError 'no-webgpu' when there is no WebGPU, adapter or device; 'option'
 */
export async function createAttention(options: CreateAttentionOptions = {}): Promise<Attention> {
  checkKeys('createAttention', options, ['device', 'powerPreference', 'tuning']);
  const { device, powerPreference, tuning } = options;
  if (powerPreference !== undefined && powerPreference !== 'low-power' && powerPreference !== 'high-performance') {
    throw new AttentionError('option', `createAttention: powerPreference is ${quote(powerPreference)}: need low-power or high-performance`);
  }
  if (device !== undefined) checkDevice(device);
  if (device !== undefined && powerPreference !== undefined)
    throw new AttentionError(
      'option',
      `createAttention: powerPreference is ${quote(powerPreference)}, and a device is given: need one of the two`,
    );
  const used = device ?? (await requestDevice(powerPreference));
  if (tuning === undefined) return new DeviceAttention(used, device === undefined);
  try {
    checkTuning(tuning, used);
  } catch (error) {
    if (device === undefined) used.destroy();
    throw error;
  }
  return new DeviceAttention(used, device === undefined, tuning.fastest);
}

/** What new tensors shall be, by name. */
type Outputs = Readonly<Record<string, { readonly shape: readonly number[]; readonly dtype: DType }>>;
/** New tensors by name. */
type Made = Partial<Record<string, GpuTensor>>;
type Inputs = Omit<AttentionTensors, 'out' | 'lse' | 'scores' | 'workspace'>;

export class DeviceAttention implements Attention, PlanContext {
  readonly lost: Promise<GPUDeviceLostInfo>;
  readonly lifeline: Lifeline;
  readonly pool: BufferPool;
  readonly absent: Absent;
  private readonly plans = new Cache<Plan>(PLANS);
  readonly backwardPlans = new Cache<BackwardPlan>(PLANS);
  private readonly programs = new Cache<Program>(PLANS); // of single kernels

  constructor(
    readonly device: GPUDevice,
    private readonly ownsDevice: boolean,
    private tuned: Tuning['fastest'] = NO_TUNING,
  ) {
    this.lost = device.lost;
    this.lifeline = new Lifeline(device);
    this.pool = new BufferPool(this.lifeline);
    const { STORAGE } = GPUBufferUsage;
    this.absent = { input: this.pool.allocate('createAttention', 16, STORAGE), output: this.pool.allocate('createAttention', 16, STORAGE) };
  }

  upload(data: HostData, shape: readonly number[], dtype?: DType): GpuTensor {
    this.lifeline.check('upload');
    return this.pool.upload(data, shape, dtype);
  }

  async download(tensor: GpuTensor): Promise<HostTensor> {
    this.lifeline.check('download');
    return this.pool.download(tensor);
  }

  empty(shape: readonly number[], dtype?: DType): GpuTensor {
    this.lifeline.check('empty');
    return this.pool.tensor('empty', shape, dtype);
  }

  release(...tensors: GpuTensor[]): void {
    this.lifeline.check('release');
    this.pool.release(tensors);
  }

  async scaledDotProductAttention(q: GpuTensor, k: GpuTensor, v: GpuTensor, options: AttentionOptions = {}): Promise<AttentionOutput> {
    const caller = 'scaledDotProductAttention';
    this.lifeline.check(caller);
    checkKeys(caller, options, OPTIONS);
    const { mask, keyLengths, alibiSlopes, sinks, ...rest } = options;
    const given = Object.entries({ q, k, v, mask, keyLengths, alibiSlopes, sinks }).filter(([, tensor]) => tensor !== undefined);
    const inputs = Object.fromEntries(given) as unknown as Inputs;
    return this.attend(caller, normalize(caller, { ...rest, ...inputs }), inputs);
  }

  /** Runs a checked problem on new outputs, with its plan from the cache. */
  async attend(caller: string, given: Problem, inputs: Inputs): Promise<AttentionOutput & { weights?: GpuTensor }> {
    this.lifeline.check(caller);
    const problem = withTuning(given, this.tuned, this.device.limits);
    for (const [name, tensor] of Object.entries(inputs)) this.checkInput(`${caller}: ${name}`, tensor);
    const { B, H, N, M, out } = problem;
    const key = planKey(problem, this.device.limits.minStorageBufferOffsetAlignment);
    const make = () => Plan.create(caller, this, problem);
    const run = async (plan: Plan) => {
      const f32 = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
      const outputs = {
        out: { shape: out.shape, dtype: out.dtype },
        ...(problem.returnLse && { lse: f32(B, H, N) }),
        ...(problem.returnScores && { scores: f32(B, H, N, M) }),
        ...(problem.returnWeights && { weights: f32(B, H, N, M) }),
        ...(plan.workspaceBytes > 0 && { workspace: f32(plan.workspaceBytes / 4) }),
      };
      const made = await this.compute(caller, inputs, outputs, (pass, tensors) => {
        const { workspace, ...results } = tensors;
        const strided = { ...results.out!, strides: out.strides };
        plan.encode(pass, { ...inputs, ...results, out: strided, ...(workspace && { workspace: workspace.buffer }) });
      });
      const { workspace, ...results } = made;
      if (workspace) this.pool.recycle(workspace.buffer);
      return { ...results, out: made.out! };
    };
    return this.lifeline.wait(caller, this.plans.use(key, make, run));
  }

  async project(x: GpuTensor, weights: GpuTensor, bias?: GpuTensor): Promise<GpuTensor> {
    const caller = 'project';
    this.lifeline.check(caller);
    const alignment = this.device.limits.minStorageBufferOffsetAlignment;
    const projection = normalizeProjection(x, weights, bias);
    const inputs = { x, w: weights, ...(bias && { bias }) };
    for (const [name, tensor] of Object.entries(inputs)) this.checkInput(`${caller}: ${name === 'w' ? 'weights' : name}`, tensor);
    const { variant, reason } = chooseProjectTiles(projection, deviceFacts(this.device, false));
    const step = { ...projectDispatch(projection, variant, alignment), reason };
    const made = await this.runStep(caller, step, inputs, { y: { shape: projection.outShape, dtype: 'f32' } });
    return made.y!;
  }

  async plan(problem: AttentionProblem): Promise<AttentionPlan> {
    this.lifeline.check('plan');
    const tuned = (normal: Problem) => withTuning(normal, this.tuned, this.device.limits);
    if (problem?.backward === undefined) return this.lifeline.wait('plan', Plan.create('plan', this, tuned(normalize('plan', problem))));
    const { planBothWays } = await import('./backward.ts');
    return this.lifeline.wait('plan', planBothWays(this, problem, tuned));
  }

  async backward(gradient: GpuTensor, forward: ForwardResult, options: BackwardOptions = {}): Promise<AttentionGradients> {
    this.lifeline.check('backward');
    const { attentionGradients } = await import('./backward.ts');
    return attentionGradients(this, gradient, forward, options);
  }

  async projectBackward(gradient: GpuTensor, x: GpuTensor, weights: GpuTensor): Promise<ProjectionGradients> {
    this.lifeline.check('projectBackward');
    const { projectionGradients } = await import('./project-backward.ts');
    return projectionGradients(this, gradient, x, weights);
  }

  async merge(parts: readonly { out: GpuTensor; lse: GpuTensor }[]): Promise<{ out: GpuTensor; lse: GpuTensor }> {
    const caller = 'merge';
    this.lifeline.check(caller);
    const { limits, features } = this.device;
    const [first, ...others] = normalizeParts(parts) as [Part, ...Part[]];
    for (const [i, part] of parts.entries()) {
      for (const [name, tensor] of Object.entries({ out: part.out, lse: part.lse }))
        this.checkInput(`${caller}: parts[${i}].${name}`, tensor);
    }
    if (first.out.dtype === 'f16' && !features.has('shader-f16'))
      throw new AttentionError('unsupported', `${caller}: parts are f16: this device lacks the feature shader-f16`);
    // Two parts at a time; what is merged so far stays f32 until the last.
    let merged = { layout: first, tensors: parts[0]! };
    for (const [i, part] of (others.length > 0 ? others : [undefined]).entries()) {
      const isLast = i + 1 >= others.length;
      const dtype = isLast ? first.out.dtype : 'f32';
      const step = {
        ...flashMergeDispatch(merged.layout, part, dtype, limits.minStorageBufferOffsetAlignment, limits.maxComputeWorkgroupsPerDimension),
        reason: 'merge',
      };
      const other = part && parts[i + 1]!;
      const inputs = { a_out: merged.tensors.out, a_lse: merged.tensors.lse, ...(other && { b_out: other.out, b_lse: other.lse }) };
      const outputs = { out: { shape: first.out.shape, dtype }, lse: { shape: first.lse.shape, dtype: 'f32' as const } };
      const made = await this.runStep(caller, step, inputs, outputs).finally(() => {
        if (i > 0) for (const { buffer } of Object.values(merged.tensors)) this.pool.recycle(buffer);
      });
      const tensors = { out: made.out!, lse: made.lse! };
      merged = { layout: normalizeParts([tensors])[0]!, tensors };
    }
    return merged.tensors;
  }

  async tune(problem: AttentionProblem, options: TuneOptions = {}): Promise<Tuning> {
    this.lifeline.check('tune');
    checkKeys('tune', options, ['onProgress']);
    const { onProgress = () => {} } = options;
    if (typeof onProgress !== 'function') throw new AttentionError('option', `tune: onProgress is ${quote(onProgress)}: need a function`);
    const normal = normalize('tune', problem);
    const { algorithm, variant } = normal;
    if (algorithm !== 'auto' || Object.keys(variant).length > 0)
      throw new AttentionError('option', `tune: algorithm is ${quote(algorithm)}, variant ${quote(variant)}: tune finds both`);
    const { measure } = await import('./tune.ts');
    const fastest = await this.lifeline.wait('tune', measure(this, normal, onProgress));
    this.tuned = { ...this.tuned, [tuningClass(normal)]: fastest };
    return { adapter: describeAdapter(this.device), fastest: this.tuned };
  }

  destroy(): void {
    this.lifeline.end('this Attention was destroyed');
    this.pool.destroy();
    if (this.ownsDevice) this.device.destroy();
  }

  /** @throws AttentionError for what cannot be bound here */
  checkInput(what: string, tensor: GpuTensor): void {
    const layout = checkLayout(what, tensor, 'input');
    this.pool.check(what, tensor, layout, 'STORAGE');
    checkBinding(what, layout, this.device.limits);
  }

  /** Runs one kernel on checked inputs and new outputs, by binding name; its program comes from the cache. */
  async runStep(caller: string, step: Step, inputs: Record<string, GpuTensor>, outputs: Outputs): Promise<Made> {
    const { limits } = this.device;
    for (const [name, output] of Object.entries(outputs))
      checkBinding(`${caller}: ${name}`, checkLayout(`${caller}: ${name}`, output, 'output'), limits);
    const make = () => Program.create(caller, this.pool, [step]);
    const run = (program: Program) => {
      for (const [name, tensor] of Object.entries(inputs)) this.checkInput(`${caller}: ${name}`, tensor); // still there after the compilation?
      return this.compute(caller, inputs, outputs, (pass, made) => {
        const tensors = Object.entries({ ...inputs, ...made }) as [string, GpuTensor][];
        const resources = tensors.map(([name, tensor]) => [
          name,
          bindingOf(tensor.buffer, checkLayout(caller, tensor, 'input'), limits.minStorageBufferOffsetAlignment),
        ]);
        program.encode(pass, Object.fromEntries(resources), this.absent);
      });
    };
    return this.lifeline.wait(caller, this.programs.use(JSON.stringify([step.kernel.name, step.params, step.variant]), make, run));
  }

  /** Records one pass on new dense tensors, and submits it. When that fails the tensors are released again. */
  async compute(
    caller: string,
    inputs: object,
    outputs: Outputs,
    record: (pass: GPUComputePassEncoder, made: Made) => void,
  ): Promise<Made> {
    const made: Made = {};
    try {
      for (const [name, { shape, dtype }] of Object.entries(outputs)) made[name] = this.pool.tensor(`${caller}: ${name}`, shape, dtype);
      await this.pool.submit(caller, [...Object.values(inputs), ...Object.values(made)], (encoder) => {
        const pass = encoder.beginComputePass({ label: caller });
        record(pass, made);
        pass.end();
      });
      return made;
    } catch (error) {
      for (const tensor of Object.values(made)) this.pool.recycle(tensor!.buffer);
      throw error;
    }
  }
}
