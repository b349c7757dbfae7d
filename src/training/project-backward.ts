/** The gradients of a linear projection: three products by the kernel `project`, some of them on transposed views. Loaded when it is first used. */
import type { ProjectionGradients } from '../contract/api.ts';
import { AttentionError, quote } from '../contract/errors.ts';
import { requireDType } from '../contract/problem.ts';
import { checkLayout, dense, type GpuTensor, type Layout } from '../contract/tensor.ts';
import type { Step } from '../gpu/program.ts';
import type { Session } from '../gpu/session.ts';
import { type Matrix, normalizeProjection, productDispatch, rowStride } from '../kernels/project.ts';
import { basicFacts } from '../tiles/facts.ts';
import { chooseProjectTiles } from '../tiles/project.ts';

/** One product: its step, the tensors to bind as x and w, and the shape of the result. */
interface Product {
  readonly step: Step;
  readonly reads: Readonly<Record<'x' | 'w', 'gradient' | 'x' | 'weights' | 'one'>>;
  readonly shape: readonly number[];
}

const caller = 'projectBackward';
const transposed = ({ layout, row, col }: Matrix): Matrix => ({ layout, row: col, col: row });

/** `Attention.projectBackward` */
export async function projectionGradients(
  session: Session,
  given: Readonly<Record<'gradient' | 'x' | 'weights', GpuTensor>>,
): Promise<ProjectionGradients> {
  const products = productsOf(given, session.device);
  for (const [name, tensor] of Object.entries(given)) session.checkInput(`${caller}: ${name}`, tensor);
  const one = session.pool.upload([1], [1]);
  const tensors = { ...given, one };
  const made: GpuTensor[] = [];
  try {
    for (const { step, reads, shape } of products) {
      const inputs = { x: tensors[reads.x], w: tensors[reads.w] };
      const { y } = await session.runStep(caller, step, inputs, { y: { shape, dtype: 'f32' } });
      made.push(y!);
    }
  } catch (error) {
    for (const { buffer } of made) session.pool.recycle(buffer);
    throw error;
  } finally {
    session.pool.recycle(one.buffer);
  }
  const [dX, dWeights, dBias] = made as [GpuTensor, GpuTensor, GpuTensor];
  return { x: dX, weights: dWeights, bias: dBias };
}

/**
 * The products dX = dY Wᵀ, dW = Xᵀ dY and db = 1ᵀ dY, in this order.
 * @throws AttentionError 'shape' or 'dtype'
 */
function productsOf({ gradient, x, weights }: Record<'gradient' | 'x' | 'weights', GpuTensor>, device: GPUDevice): readonly Product[] {
  const projection = normalizeProjection(x, weights, undefined, caller);
  const { rows, width, outWidth, outShape } = projection;
  const dY = checkLayout(`${caller}: gradient`, gradient, 'input');
  requireDType(`${caller}: gradient`, dY, ['f32']);
  if (dY.shape.length !== outShape.length || dY.shape.some((size, axis) => size !== outShape[axis])) {
    const got = `gradient is ${quote(dY.shape)}, x is ${quote(x.shape)}, weights is ${quote(weights.shape)}`;
    throw new AttentionError('shape', `${caller}: ${got}: need a gradient of ${quote(outShape)}`);
  }

  const facts = basicFacts(device);
  const product = (sizes: readonly [number, number, number], left: Matrix, right: Matrix): Step => {
    const { variant, reason } = chooseProjectTiles({ rows: sizes[0], outWidth: sizes[2] }, facts);
    return { ...productDispatch(sizes, left, right, variant, device.limits.minStorageBufferOffsetAlignment), reason };
  };
  const rowsOf = (name: string, layout: Layout): Matrix => ({ layout, row: rowStride(`${caller}: ${name}`, layout), col: 1 });
  const [xRows, dYRows] = [rowsOf('x', projection.x), rowsOf('gradient', dY)];
  const w: Matrix = { layout: projection.w, row: projection.w.strides[0]!, col: 1 };
  const ones: Matrix = { layout: dense([1]), row: 0, col: 0 }; // with strides of 0 every element is the one number
  return [
    { step: product([rows, outWidth, width], dYRows, transposed(w)), reads: { x: 'gradient', w: 'weights' }, shape: x.shape },
    { step: product([width, rows, outWidth], transposed(xRows), dYRows), reads: { x: 'x', w: 'gradient' }, shape: weights.shape },
    { step: product([1, rows, outWidth], ones, dYRows), reads: { x: 'one', w: 'gradient' }, shape: [outWidth] },
  ];
}
