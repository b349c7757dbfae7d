/** createAttention and the Attention object. Its methods check the caller's arguments and pass them to a plan. */
import type {
  Attention,
  AttentionGradients,
  AttentionOutput,
  AttentionPlan,
  BackwardOptions,
  CreateAttentionOptions,
  ForwardResult,
  MergePart,
  ProjectionGradients,
  TuneOptions,
  Tuning,
} from './contract/api.ts';
import { readBackwardCall, readParts } from './contract/calls.ts';
import { AttentionError, quote } from './contract/errors.ts';
import { readTensor, readTensors } from './contract/gpu-tensor.ts';
import type { HostData } from './contract/host-array.ts';
import type { AttentionOptions, AttentionProblem } from './contract/options.ts';
import { normalize, OPTIONS } from './contract/problem.ts';
import { readOptions } from './contract/record.ts';
import type { DType, GpuTensor, HostTensor } from './contract/tensor.ts';
import { checkDevice, destroyQuietly, requestDevice } from './gpu/device.ts';
import { SESSION, Session } from './gpu/session.ts';
import type { KernelVariants } from './kernels/variants.ts';
import { attend, type Inputs, planProblem } from './plan/calls.ts';
import { tuningClass } from './plan/tuning.ts';

/**
 * Makes an Attention, on a new device or on the caller's.
 * @throws AttentionError 'no-webgpu' when there is no WebGPU, no adapter or no device; 'option'
 */
export async function createAttention(options: CreateAttentionOptions<KernelVariants> = {}): Promise<Attention<KernelVariants>> {
  const { device, powerPreference, tuning } = readOptions('createAttention', options, ['device', 'powerPreference', 'tuning']);
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
    const { readTuning } = await import('./plan/kept-tuning.ts');
    return new DeviceAttention(used, device === undefined, readTuning(tuning, used).fastest);
  } catch (error) {
    if (device === undefined) used.destroy();
    throw error;
  }
}

class DeviceAttention implements Attention<KernelVariants> {
  readonly lost: Promise<GPUDeviceLostInfo>;
  readonly [SESSION]: Session;

  constructor(
    readonly device: GPUDevice,
    private readonly ownsDevice: boolean,
    tuned: Tuning['fastest'] = {},
  ) {
    this.lost = device.lost;
    this[SESSION] = new Session('createAttention', device, tuned);
  }

  upload(data: HostData, shape?: readonly number[], dtype?: DType): GpuTensor {
    return this.alive('upload').pool.upload(data, shape, dtype);
  }

  async download(tensor: GpuTensor): Promise<HostTensor> {
    return this.alive('download').download(readTensor('download: tensor', tensor));
  }

  empty(shape: readonly number[], dtype?: DType): GpuTensor {
    return this.alive('empty').pool.tensor('empty', shape, dtype);
  }

  release(...tensors: GpuTensor[]): void {
    this.alive('release').pool.release(tensors.map((tensor) => readTensor('release: tensor', tensor)));
  }

  async scaledDotProductAttention(
    q: GpuTensor,
    k: GpuTensor,
    v: GpuTensor,
    options: AttentionOptions<GpuTensor, KernelVariants> = {},
  ): Promise<AttentionOutput> {
    const caller = 'scaledDotProductAttention';
    const session = this.alive(caller);
    const { mask, keyLengths, alibiSlopes, sinks, ...rest } = readOptions(caller, options, OPTIONS);
    const inputs: Inputs = readTensors(caller, { q, k, v, mask, keyLengths, alibiSlopes, sinks });
    return attend(session, caller, normalize(caller, { ...rest, ...inputs }), inputs);
  }

  async project(x: GpuTensor, weights: GpuTensor, bias?: GpuTensor): Promise<GpuTensor> {
    const session = this.alive('project');
    const given = { x: readTensor('project: x', x), weights: readTensor('project: weights', weights) };
    const all = bias === undefined ? given : { ...given, bias: readTensor('project: bias', bias) };
    return this.later('project', import('./plan/projection.ts'), ({ projectRows }) => projectRows(session, all));
  }

  async plan(problem: AttentionProblem<KernelVariants>): Promise<AttentionPlan> {
    return planProblem(this[SESSION], problem);
  }

  async backward(gradient: GpuTensor, forward: ForwardResult, options: BackwardOptions<KernelVariants> = {}): Promise<AttentionGradients> {
    const session = this.alive('backward');
    const given = readBackwardCall('backward', gradient, forward, options);
    return this.later('backward', import('./plan/backward.ts'), ({ attentionGradients }) => attentionGradients(session, given));
  }

  async projectBackward(gradient: GpuTensor, x: GpuTensor, weights: GpuTensor): Promise<ProjectionGradients> {
    const caller = 'projectBackward';
    const session = this.alive(caller);
    const given = { gradient: readTensor(`${caller}: gradient`, gradient), x: readTensor(`${caller}: x`, x) };
    const all = { ...given, weights: readTensor(`${caller}: weights`, weights) };
    return this.later(caller, import('./training/project-backward.ts'), ({ projectionGradients }) => projectionGradients(session, all));
  }

  async merge(parts: readonly MergePart[]): Promise<MergePart> {
    const session = this.alive('merge');
    const given = readParts('merge', parts);
    return this.later('merge', import('./plan/merge.ts'), ({ mergeParts }) => mergeParts(session, given));
  }

  async tune(problem: AttentionProblem<KernelVariants>, options: TuneOptions = {}): Promise<Tuning<KernelVariants>> {
    const session = this.alive('tune');
    const { onProgress = () => {} } = readOptions('tune', options, ['onProgress']);
    if (typeof onProgress !== 'function') throw new AttentionError('option', `tune: onProgress is ${quote(onProgress)}: need a function`);
    const normal = normalize('tune', problem);
    const [{ measure }, { describeAdapter }] = await Promise.all([import('./plan/tune.ts'), import('./plan/kept-tuning.ts')]);
    const fastest = await session.lifeline.wait('tune', measure(session, normal, onProgress));
    session.tuned = { ...session.tuned, [tuningClass(normal)]: fastest };
    return { adapter: describeAdapter(this.device), fastest: session.tuned };
  }

  destroy(): void {
    this[SESSION].destroy();
    if (this.ownsDevice) destroyQuietly(this.device);
  }

  /** @throws AttentionError 'device-lost' */
  private alive(caller: string): Session {
    const session = this[SESSION];
    session.lifeline.check(caller);
    return session;
  }

  /** A call whose code is loaded first. Like every wait, it rejects when this Attention ends. */
  private async later<Code, Result>(caller: string, loading: Promise<Code>, call: (code: Code) => Promise<Result>): Promise<Result> {
    return this[SESSION].lifeline.wait(caller, loading.then(call));
  }
}
