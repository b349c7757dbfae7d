import { AttentionError, quote } from '../contract/errors.ts';
import { requireDType } from '../contract/problem.ts';
import { checkLayout, elementCount, type Layout, type TensorLayout } from '../contract/tensor.ts';
import { type Dispatch, elementOffset, gridDispatch, type Kernel, numbers, read, uniform, type Variant, write } from '../gpu/kernel.ts';

/** y = x · w + bias. */
export const project: Kernel = {
  name: 'project',
  source: () => import('../../shaders/project.wgsl?raw'),
  bindings: [read('x'), read('w'), read('bias'), write('y'), uniform('params')],
};

/** A checked projection. It maps `rows` rows of `width` numbers to as many rows of `outWidth` numbers. */
export interface Projection {
  readonly rows: number;
  readonly width: number;
  readonly outWidth: number;
  readonly outShape: readonly number[];
  readonly x: Layout;
  readonly w: Layout;
  readonly bias: Layout | undefined;
}

export function normalizeProjection(x: TensorLayout, w: TensorLayout, bias: TensorLayout | undefined, caller = 'project'): Projection {
  const layout = (name: string, tensor: TensorLayout): Layout => {
    const checked = checkLayout(`${caller}: ${name}`, tensor, 'input');
    requireDType(`${caller}: ${name}`, checked, ['f32']);
    return checked;
  };
  const checked = { x: layout('x', x), w: layout('weights', w), bias: bias && layout('bias', bias) };
  const width = checked.x.shape[checked.x.shape.length - 1]!;
  if (checked.w.shape.length !== 2 || checked.w.shape[0] !== width) {
    throw new AttentionError('shape', `${caller}: weights is ${quote(w.shape)}, x is ${quote(x.shape)}: need [${width}, width]`);
  }
  const outWidth = checked.w.shape[1]!;
  if (checked.bias && (checked.bias.shape.length !== 1 || checked.bias.shape[0] !== outWidth)) {
    throw new AttentionError('shape', `${caller}: bias is ${quote(bias?.shape)}, weights is ${quote(w.shape)}: need [${outWidth}]`);
  }
  rowStride(`${caller}: x`, checked.x);
  const { shape } = checked.x;
  return { ...checked, rows: elementCount(shape.slice(0, -1)), width, outWidth, outShape: [...shape.slice(0, -1), outWidth] };
}

/** Elements from one row of a tensor to the next. Dimensions of size 1 do not count. @throws AttentionError 'shape' unless all rows are equally far apart */
export function rowStride(what: string, { shape, strides }: Layout): number {
  const rows = shape.slice(0, -1).map((size, i) => ({ size, stride: strides[i]! }));
  const [inner, ...outer] = rows.filter(({ size }) => size > 1).reverse();
  if (!inner) return 0;
  let span = inner.stride * inner.size;
  for (const { size, stride } of outer) {
    if (stride !== span)
      throw new AttentionError(
        'shape',
        `${what} has strides ${quote(strides)} for shape ${quote(shape)}: its rows must be equally far apart`,
      );
    span = stride * size;
  }
  return inner.stride;
}

/** A matrix in a tensor's buffer. `row` and `col` are its strides: elements from one row to the next, and from one column to the next. */
export interface Matrix {
  readonly layout: Layout;
  readonly row: number;
  readonly col: number;
}

export function projectDispatch({ rows, width, outWidth, x, w, bias }: Projection, variant: Variant, alignment: number): Dispatch {
  const left = { layout: x, row: rowStride('x', x), col: 1 };
  return productDispatch([rows, width, outWidth], left, { layout: w, row: w.strides[0]!, col: 1 }, variant, alignment, bias);
}

/** Where a product is stored. Default: at the beginning of the bound buffer, which it overwrites. */
export interface ProductTarget {
  readonly y?: Layout; // dense
  readonly accumulates?: boolean; // the product is added to y's content
}

/** y = x [rows, width] · w [width, outWidth], plus bias [outWidth] where there is one. */
export function productDispatch(
  [rows, width, outWidth]: readonly [number, number, number],
  x: Matrix,
  w: Matrix,
  variant: Variant,
  alignment: number,
  bias?: Layout,
  { y, accumulates = false }: ProductTarget = {},
): Dispatch {
  const { TILE_N, TILE_O } = numbers<'TILE_N' | 'TILE_O'>(variant);
  return gridDispatch(
    project,
    variant,
    [Math.ceil(outWidth / TILE_O), Math.ceil(rows / TILE_N), 1],
    [
      ['rows', 'u32', rows],
      ['width', 'u32', width],
      ['out_width', 'u32', outWidth],
      ['has_bias', 'u32', Number(bias !== undefined)],
      ['x_offset', 'u32', elementOffset(x.layout, alignment)],
      ['x_row', 'u32', x.row],
      ['x_col', 'u32', x.col],
      ['w_offset', 'u32', elementOffset(w.layout, alignment)],
      ['w_row', 'u32', w.row],
      ['w_col', 'u32', w.col],
      ['bias_offset', 'u32', elementOffset(bias, alignment)],
      ['y_offset', 'u32', elementOffset(y, alignment)],
      ['accumulates', 'u32', Number(accumulates)],
    ],
  );
}

export function projectBytes(variant: Variant): number {
  const { TILE_N, TILE_O, TILE_I } = numbers<'TILE_N' | 'TILE_O' | 'TILE_I'>(variant);
  return (
    4 * TILE_I * TILE_N + // x_tile
    4 * TILE_I * TILE_O // w_tile
  );
}
