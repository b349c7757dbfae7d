/** The state of an Attention that plans and training use: its device, its buffers and its compiled programs. It runs passes on checked tensors. */
import type { Tuning } from '../contract/api.ts';
import { AttentionError, quote } from '../contract/errors.ts';
import { reading } from '../contract/record.ts';
import { checkLayout, type DType, type GpuTensor, type HostTensor } from '../contract/tensor.ts';
import { BufferPool } from './buffers.ts';
import { Cache } from './cache.ts';
import { Lifeline } from './device.ts';
import { USAGE } from './native.ts';
import { ABSENT_OUTPUT_BYTES, type Absent, bindingOf, checkBinding, Program, programKey, type Step, Uniforms } from './program.ts';

const PROGRAMS = 64; // programs that are kept for calls, with the bind groups of their last few sets of tensors
const MOST_STEPS = 8; // the most steps of a call

/** Shapes and types of tensors to make, by name. */
export type Outputs = Readonly<Record<string, { readonly shape: readonly number[]; readonly dtype: DType }>>;
/** New tensors by name. */
export type Made = Partial<Record<string, GpuTensor>>;

export class Session {
  readonly lifeline: Lifeline;
  readonly pool: BufferPool;
  readonly absent: Absent;
  private readonly programs = new Cache<Program>(PROGRAMS);
  private readonly uniforms: Uniforms;

  constructor(
    caller: string,
    readonly device: GPUDevice,
    /** What `tune` measured. A problem takes it where its caller forces no algorithm and no variant. */
    public tuned: Tuning['fastest'],
  ) {
    this.lifeline = new Lifeline(device);
    this.pool = new BufferPool(this.lifeline);
    this.uniforms = new Uniforms(caller, this.pool, MOST_STEPS);
    const { STORAGE } = USAGE;
    this.absent = {
      input: this.pool.allocate(caller, 16, STORAGE),
      output: this.pool.allocate(caller, ABSENT_OUTPUT_BYTES, STORAGE),
    };
    this.pool.need(this.uniforms.buffer, this.absent.input, this.absent.output);
  }

  async download(tensor: GpuTensor): Promise<HostTensor> {
    this.lifeline.check('download');
    return this.pool.download(tensor);
  }

  /** Checks that a tensor can be bound as an input. @throws AttentionError where it cannot */
  checkInput(what: string, tensor: GpuTensor): void {
    const layout = checkLayout(what, tensor, 'input');
    this.pool.check(what, tensor, layout, 'STORAGE');
    checkBinding(what, layout, this.device.limits);
  }

  /**
   * Runs `use` with a program for the steps, which is compiled at its first use and cached. All these programs share one uniform buffer: a call writes its
   * uniforms and submits its commands without a wait in between, and the queue keeps the order.
   */
  withProgram<R>(caller: string, steps: readonly Step[], use: (program: Program) => Promise<R>): Promise<R> {
    return this.lifeline.wait(
      caller,
      this.programs.use(programKey(steps), () => Program.create(caller, this.pool, steps, this.uniforms), use),
    );
  }

  /** Runs one kernel. Inputs and new outputs are by binding name. The program comes from the cache. */
  async runStep(caller: string, step: Step, inputs: Record<string, GpuTensor>, outputs: Outputs): Promise<Made> {
    const { limits } = this.device;
    for (const [name, output] of Object.entries(outputs))
      checkBinding(`${caller}: ${name}`, checkLayout(`${caller}: ${name}`, output, 'output'), limits);
    const steps = [step];
    return this.withProgram(caller, steps, (program) => {
      // An input may have been released during the compilation.
      for (const [name, tensor] of Object.entries(inputs)) this.checkInput(`${caller}: ${name}`, tensor);
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

  /** Records one pass with new dense tensors as outputs, and submits it. When this fails, the new tensors are released. */
  async compute(
    caller: string,
    inputs: object,
    outputs: Outputs,
    record: (pass: GPUComputePassEncoder, made: Made) => void,
  ): Promise<Made> {
    const made: Made = {};
    try {
      for (const [name, { shape, dtype }] of Object.entries(outputs)) made[name] = this.pool.tensor(`${caller}: ${name}`, shape, dtype);
      await this.submit(caller, [...Object.values(inputs), ...Object.values(made)], (pass) => record(pass, made));
      return made;
    } catch (error) {
      for (const tensor of Object.values(made)) this.pool.recycle(tensor!.buffer);
      throw error;
    }
  }

  /** Records one pass and submits it. @throws AttentionError 'out-of-memory' when one of the tensors could not be allocated, 'option', 'device-lost' */
  submit(caller: string, tensors: readonly GpuTensor[], record: (pass: GPUComputePassEncoder) => void): Promise<void> {
    return this.pool.submit(caller, tensors, (encoder) => {
      const pass = encoder.beginComputePass({ label: caller });
      record(pass);
      pass.end();
    });
  }

  /** Frees the buffers. Pending waits reject, and later checks throw. */
  destroy(): void {
    this.lifeline.end('this Attention was destroyed');
    this.pool.destroy();
  }
}

/**
 * The property of an Attention that holds its session. A symbol keeps it out of callers' sight. A property is also found through a proxy of the Attention,
 * as reactive stores make them. The entry of a WeakMap is not.
 */
export const SESSION: unique symbol = Symbol('session');

/**
 * The session of an Attention that a caller gave.
 * @throws AttentionError 'option' for a value that is no Attention, 'device-lost'
 */
export function sessionOf(caller: string, attention: unknown): Session {
  const session = reading(`${caller}: attention`, () => (attention as { [SESSION]?: Session } | null | undefined)?.[SESSION]);
  if (!session) throw new AttentionError('option', `${caller}: attention is ${quote(attention)}: need what createAttention gave`);
  session.lifeline.check(caller);
  return session;
}
