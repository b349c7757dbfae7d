/** createAttention and the Attention object: check, plan, encode, submit. */
import type {
  Attention,
  AttentionGradients,
  AttentionOutput,
  BackwardOptions,
  CreateAttentionOptions,
  ForwardResult,
  MergePart,
  ProjectionGradients,
  TuneOptions,
} from './contract/api.ts';
import { AttentionError, quote } from './contract/errors.ts';
import type { HostData } from './contract/host-array.ts';
import type { AttentionOptions, AttentionProblem } from './contract/options.ts';
import { checkKeys, normalize, OPTIONS, type Problem } from './contract/problem.ts';
import { checkLayout, type DType, type GpuTensor, type HostTensor } from './contract/tensor.ts';
import { BufferPool } from './gpu/buffers.ts';
import { Cache } from './gpu/cache.ts';
import { checkDevice, destroyQuietly, Lifeline, requestDevice } from './gpu/device.ts';
import { ABSENT_OUTPUT_BYTES, type Absent, bindingOf, checkBinding, Program, programKey, type Step, Uniforms } from './gpu/program.ts';
import { type AttentionPlan, type AttentionTensors, Plan, type PlanContext, type Prepared, prepare } from './plan/plan.ts';
import { checkTuning, describeAdapter, NO_TUNING, type Tuning, tuningClass, withTuning } from './plan/tuning.ts';

const PROGRAMS = 64; // compiled sequences of kernels that calls keep, with the bind groups of their last few tensors
const MOST_STEPS = 8; // of a call

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
  private readonly programs = new Cache<Program>(PROGRAMS);
  private readonly uniforms: Uniforms;

  constructor(
    readonly device: GPUDevice,
    private readonly ownsDevice: boolean,
    private tuned: Tuning['fastest'] = NO_TUNING,
  ) {
    this.lost = device.lost;
    this.lifeline = new Lifeline(device);
    this.pool = new BufferPool(this.lifeline);
    this.uniforms = new Uniforms('createAttention', this.pool, MOST_STEPS);
    const { STORAGE } = GPUBufferUsage;
    this.absent = {
      input: this.pool.allocate('createAttention', 16, STORAGE),
      output: this.pool.allocate('createAttention', ABSENT_OUTPUT_BYTES, STORAGE),
    };
    this.pool.need(this.uniforms.buffer, this.absent.input, this.absent.output);
  }

  upload(data: HostData, shape?: readonly number[], dtype?: DType): GpuTensor {
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
    const run = async (prepared: Prepared, program: Program) => {
      const plan = new Plan(this, prepared, program);
      const workspaceBytes = Math.max(plan.workspaceBytes, prepared.longer?.workspace.bytes ?? 0); // of the pool, and the same at the next call
      const f32 = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
      const outputs = {
        out: { shape: out.shape, dtype: out.dtype },
        ...(problem.returnLse && { lse: f32(B, H, N) }),
        ...(problem.returnScores && { scores: f32(B, H, N, M) }),
        ...(problem.returnWeights && { weights: f32(B, H, N, M) }),
        ...(workspaceBytes > 0 && { workspace: f32(workspaceBytes / 4) }),
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
    const prepared = await this.lifeline.wait(caller, prepare(caller, this.device, problem));
    if (prepared.longer) void this.withProgram(caller, prepared.longer.steps, async () => {}).catch(() => {}); // who needs it will be told
    return this.withProgram(caller, prepared.steps, (program) => run(prepared, program));
  }

  /**
   * Runs `use` with a program that fits the steps, compiled by the first who needs it. All programs of calls have the same uniform buffer: a call writes
   * and submits at once, and the queue keeps the order.
   */
  withProgram<R>(caller: string, steps: readonly Step[], use: (program: Program) => Promise<R>): Promise<R> {
    return this.lifeline.wait(
      caller,
      this.programs.use(programKey(steps), () => Program.create(caller, this.pool, steps, this.uniforms), use),
    );
  }

  async project(x: GpuTensor, weights: GpuTensor, bias?: GpuTensor): Promise<GpuTensor> {
    return this.later('project', import('./plan/projection.ts'), ({ projectRows }) => projectRows(this, x, weights, bias));
  }

  async plan(problem: AttentionProblem): Promise<AttentionPlan> {
    this.lifeline.check('plan');
    const tuned = (normal: Problem) => withTuning(normal, this.tuned, this.device.limits);
    if (problem?.backward === undefined) return this.lifeline.wait('plan', Plan.create('plan', this, tuned(normalize('plan', problem))));
    const { planBothWays } = await import('./plan/backward.ts');
    return this.lifeline.wait('plan', planBothWays(this, problem, tuned));
  }

  async backward(gradient: GpuTensor, forward: ForwardResult, options: BackwardOptions = {}): Promise<AttentionGradients> {
    return this.later('backward', import('./plan/backward.ts'), ({ attentionGradients }) =>
      attentionGradients(this, gradient, forward, options),
    );
  }

  async projectBackward(gradient: GpuTensor, x: GpuTensor, weights: GpuTensor): Promise<ProjectionGradients> {
    return this.later('projectBackward', import('./training/project-backward.ts'), ({ projectionGradients }) =>
      projectionGradients(this, gradient, x, weights),
    );
  }

  async merge(parts: readonly MergePart[]): Promise<MergePart> {
    return this.later('merge', import('./plan/merge.ts'), ({ mergeParts }) => mergeParts(this, parts));
  }

  async tune(problem: AttentionProblem, options: TuneOptions = {}): Promise<Tuning> {
    this.lifeline.check('tune');
    checkKeys('tune', options, ['onProgress']);
    const { onProgress = () => {} } = options;
    if (typeof onProgress !== 'function') throw new AttentionError('option', `tune: onProgress is ${quote(onProgress)}: need a function`);
    const normal = normalize('tune', problem);
    const { algorithm, variant, B, H, N, M } = normal;
    if (B * H * N * M === 0)
      throw new AttentionError('shape', `tune: B is ${B}, H ${H}, N ${N} and M ${M}: need one query and one key to measure`);
    if (algorithm !== 'auto' || Object.keys(variant).length > 0)
      throw new AttentionError('option', `tune: algorithm is ${quote(algorithm)}, variant ${quote(variant)}: tune finds both`);
    const { measure } = await import('./plan/tune.ts');
    const fastest = await this.lifeline.wait('tune', measure(this, normal, onProgress));
    this.tuned = { ...this.tuned, [tuningClass(normal)]: fastest };
    return { adapter: describeAdapter(this.device), fastest: this.tuned };
  }

  destroy(): void {
    this.lifeline.end('this Attention was destroyed');
    this.pool.destroy();
    if (this.ownsDevice) destroyQuietly(this.device);
  }

  /** A call whose code is loaded first. It ends with this Attention, as every wait does. */
  private async later<Code, Result>(caller: string, loading: Promise<Code>, call: (code: Code) => Promise<Result>): Promise<Result> {
    return this.lifeline.wait(caller, loading.then(call));
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
    const steps = [step];
    return this.withProgram(caller, steps, (program) => {
      for (const [name, tensor] of Object.entries(inputs)) this.checkInput(`${caller}: ${name}`, tensor); // still there after the compilation?
      return this.compute(caller, inputs, outputs, (pass, made) => {
        const tensors = Object.entries({ ...inputs, ...made }) as [string, GpuTensor][];
        const resources = tensors.map(([name, tensor]) => [
          name,
          bindingOf(tensor.buffer, checkLayout(caller, tensor, 'input'), limits.minStorageBufferOffsetAlignment),
        ]);
        program.encode(caller, pass, steps, Object.fromEntries(resources), this.absent);
      });
    });
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
