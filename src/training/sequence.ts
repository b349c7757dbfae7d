/** A sequence of dispatches on the same tensors at every run, and the matrix products that such sequences consist of. */
import { checkLayout, type DType, type GpuTensor, type Layout } from '../contract/tensor.ts';
import type { Dispatch } from '../gpu/kernel.ts';
import { USAGE } from '../gpu/native.ts';
import { bindingOf, checkBinding, Program, type Resources, type Step } from '../gpu/program.ts';
import type { Session } from '../gpu/session.ts';
import { type Matrix, productDispatch, rowStride } from '../kernels/project.ts';
import { basicFacts } from '../tiles/facts.ts';
import { chooseProjectTiles } from '../tiles/project.ts';

/** A dispatch, and its tensors by binding name. */
export interface Operation {
  readonly dispatch: Dispatch;
  readonly reason: string;
  readonly tensors: Readonly<Record<string, GpuTensor>>;
}

export const layoutOf = (tensor: GpuTensor): Layout => checkLayout('tensor', tensor, 'input');

/** Dispatches and their tensors. The tensors are bound once: encoding the sequence again creates no bind groups. */
export class Sequence {
  private constructor(
    private readonly session: Session,
    private readonly program: Program,
    private readonly steps: readonly Step[],
    private readonly resources: Resources,
  ) {}

  /** @throws AttentionError 'limit' or 'compile' */
  static async create(caller: string, session: Session, operations: readonly Operation[]): Promise<Sequence> {
    const alignment = session.device.limits.minStorageBufferOffsetAlignment;
    const resourceOf = (i: number, name: string) => `${i}.${name}`; // steps use the same binding names for different tensors
    const steps = operations.map(({ dispatch, reason, tensors }, i): Step => {
      const resources = Object.fromEntries(Object.keys(tensors).map((name) => [name, resourceOf(i, name)]));
      return { ...dispatch, reason, resources };
    });
    const bound = operations.flatMap(({ tensors }, i) =>
      Object.entries(tensors).map(([name, tensor]) => [resourceOf(i, name), bindingOf(tensor.buffer, layoutOf(tensor), alignment)]),
    );
    return new Sequence(session, await Program.create(caller, session.pool, steps), steps, Object.fromEntries(bound));
  }

  get kernels(): readonly { name: string; variant: Dispatch['variant']; reason: string }[] {
    return this.steps.map(({ kernel, variant, reason }) => ({ name: kernel.name, variant, reason }));
  }

  encode(pass: GPUComputePassEncoder, caller = 'encode'): void {
    this.program.encode(caller, pass, this.steps, this.resources, this.session.absent);
  }

  destroy(): void {
    this.program.destroy();
  }
}

/** A matrix and the tensor that holds it. */
export interface Operand extends Matrix {
  readonly tensor: GpuTensor;
}

/** The matrix whose rows are the rows of a tensor of any rank. */
export function rowsOf(tensor: GpuTensor): Operand {
  const layout = layoutOf(tensor);
  return { tensor, layout, row: rowStride('tensor', layout), col: 1 };
}

export const transposed = (matrix: Operand): Operand => ({ ...matrix, row: matrix.col, col: matrix.row });

/** y = x [rows, inner] · w [inner, cols], plus a bias where one is given; with `accumulates` the product is added to y. */
export function product(
  { device }: Session,
  sizes: readonly [rows: number, inner: number, cols: number],
  x: Operand,
  w: Operand,
  y: GpuTensor,
  { bias, accumulates = false }: { bias?: GpuTensor; accumulates?: boolean } = {},
): Operation {
  const { variant, reason } = chooseProjectTiles({ rows: sizes[0], outWidth: sizes[2] }, basicFacts(device));
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  const dispatch = productDispatch(sizes, x, w, variant, alignment, bias && layoutOf(bias), { y: layoutOf(y), accumulates });
  return { dispatch, reason, tensors: { x: x.tensor, w: w.tensor, y, ...(bias && { bias }) } };
}

/** What an object owns on the GPU. All parts are destroyed together: when the object is, or when one part cannot be made. */
export class Parts {
  readonly tensors: GpuTensor[] = [];
  private readonly ends: (() => void)[] = [];

  constructor(
    private readonly caller: string,
    private readonly session: Session,
  ) {}

  /** A dense tensor with undefined content. @throws AttentionError 'limit' where it does not fit one binding */
  tensor(name: string, shape: readonly number[], dtype: DType = 'f32'): GpuTensor {
    const what = `${this.caller}: ${name}`;
    const { pool, device } = this.session;
    checkBinding(what, checkLayout(what, { shape, dtype }, 'output'), device.limits);
    const tensor = pool.kept(what, shape, dtype);
    this.tensors.push(tensor);
    this.ends.push(() => pool.recycle(tensor.buffer));
    return tensor;
  }

  /** A uniform buffer. Once it is destroyed, commands that were recorded with it cannot be submitted. */
  uniforms(bytes: number): GPUBuffer {
    const { pool } = this.session;
    const buffer = pool.allocate(`${this.caller}: uniforms`, bytes, USAGE.UNIFORM | USAGE.COPY_DST);
    this.ends.push(() => pool.discard(buffer));
    return buffer;
  }

  /** @throws AttentionError 'limit' or 'compile' */
  sequence(operations: readonly Operation[]): Promise<Sequence> {
    return this.add(Sequence.create(this.caller, this.session, operations));
  }

  async add<T extends { destroy(): void }>(making: Promise<T>): Promise<T> {
    const part = await making;
    this.ends.push(() => part.destroy());
    return part;
  }

  /** What `make` makes of the parts. When `make` fails, the parts made so far are destroyed. */
  async whole<T>(make: () => Promise<T>): Promise<T> {
    try {
      return await make();
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  destroy(): void {
    for (const end of this.ends.splice(0).reverse()) end();
  }
}
