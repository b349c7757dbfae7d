/** Dispatches on tensors that stay the same, and the matrix products among them. */
import type { DeviceAttention } from './attention.ts';
import type { Dispatch } from './kernels/kernel.ts';
import { type Matrix, productDispatch, rowStride } from './kernels/project.ts';
import { bindingOf, Program, type Resources, type Step } from './program.ts';
import { checkLayout, type GpuTensor, type Layout } from './tensor.ts';
import { chooseProjectTiles, deviceFacts } from './tiles.ts';

/** A dispatch, and its tensors by binding name. */
export interface Operation {
  readonly dispatch: Dispatch;
  readonly reason: string;
  readonly tensors: Readonly<Record<string, GpuTensor>>;
}

export const layoutOf = (tensor: GpuTensor): Layout => checkLayout('tensor', tensor, 'input');

/** A dispatch's tensors are bound once: encoding them again makes nothing on the GPU. */
export class Sequence {
  private constructor(
    private readonly on: DeviceAttention,
    private readonly program: Program,
    private readonly resources: Resources,
  ) {}

  /** @throws AttentionError 'limit' or 'compile' */
  static async create(caller: string, on: DeviceAttention, operations: readonly Operation[]): Promise<Sequence> {
    const alignment = on.device.limits.minStorageBufferOffsetAlignment;
    const own = (i: number, name: string) => `${i}.${name}`; // every step has its own x and y
    const steps = operations.map(({ dispatch, reason, tensors }, i): Step => {
      const resources = Object.fromEntries(Object.keys(tensors).map((name) => [name, own(i, name)]));
      return { ...dispatch, reason, resources };
    });
    const bound = operations.flatMap(({ tensors }, i) =>
      Object.entries(tensors).map(([name, tensor]) => [own(i, name), bindingOf(tensor.buffer, layoutOf(tensor), alignment)]),
    );
    return new Sequence(on, await Program.create(caller, on.pool, steps), Object.fromEntries(bound));
  }

  get kernels(): readonly { name: string; variant: Dispatch['variant']; reason: string }[] {
    return this.program.steps.map(({ kernel, variant, reason }) => ({ name: kernel.name, variant, reason }));
  }

  encode(pass: GPUComputePassEncoder): void {
    this.program.encode(pass, this.resources, this.on.absent);
  }

  destroy(): void {
    this.program.destroy();
  }
}

/** A tensor as a matrix. */
export interface Operand extends Matrix {
  readonly tensor: GpuTensor;
}

/** The rows of a tensor of any rank. */
export function rowsOf(tensor: GpuTensor): Operand {
  const layout = layoutOf(tensor);
  return { tensor, layout, row: rowStride('tensor', layout), col: 1 };
}

export const transposed = (matrix: Operand): Operand => ({ ...matrix, row: matrix.col, col: matrix.row });

/** y = x [rows, inner] · w [inner, cols], plus a bias, or plus what is in y already. */
export function product(
  { device }: DeviceAttention,
  sizes: readonly [rows: number, inner: number, cols: number],
  x: Operand,
  w: Operand,
  y: GpuTensor,
  { bias, accumulates = false }: { bias?: GpuTensor; accumulates?: boolean } = {},
): Operation {
  const { variant, reason } = chooseProjectTiles({ rows: sizes[0], outWidth: sizes[2] }, deviceFacts(device, false));
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  const dispatch = productDispatch(sizes, x, w, variant, alignment, bias && layoutOf(bias), { y: layoutOf(y), accumulates });
  return { dispatch, reason, tensors: { x: x.tensor, w: w.tensor, y, ...(bias && { bias }) } };
}

/** Records one pass and submits it. */
export function submit(on: DeviceAttention, caller: string, record: (pass: GPUComputePassEncoder) => void): Promise<void> {
  return on.pool.submit(caller, [], (encoder) => {
    const pass = encoder.beginComputePass({ label: caller });
    record(pass);
    pass.end();
  });
}
