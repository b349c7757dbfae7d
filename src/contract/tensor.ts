import { AttentionError, quote } from './errors.ts';
import { copyList, pick } from './record.ts';

/** Element types in GPU memory. A `bool` is one byte: 0 is false, every other value true. */
export type DType = 'f32' | 'f16' | 'bool' | 'u32';

/**
 * A tensor in host memory, row-major, as calls return it. The reference returns Float64Array, the GPU path Float32Array, or Float64Array for u32.
 * As an argument, calls take any `HostInput`.
 */
export interface HostTensor {
  readonly data: Float32Array | Float64Array;
  readonly shape: readonly number[];
}

/**
 * How a tensor lies in a buffer. A size may be 0: the tensor then has no elements.
 * `offset` is in bytes, a multiple of 4. Default 0.
 * `strides` are in elements, and the last one is 1. A stride of 0 repeats the same elements along a dimension (broadcast), for inputs only. Default: row-major.
 */
export interface TensorLayout {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly offset?: number;
  readonly strides?: readonly number[];
}

/** A tensor in a GPUBuffer. The buffer must hold the tensor, its end rounded up to a multiple of 4 bytes. */
export interface GpuTensor extends TensorLayout {
  readonly buffer: GPUBuffer;
}

/** A TensorLayout with all defaults filled in. */
export interface Layout {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly offset: number; // bytes
  readonly strides: readonly number[]; // elements
  readonly bytes: number; // from offset to the end of the last element, rounded up to a multiple of 4; 0 where there is no element
}

/** Bytes of an element. */
export const BYTES: Record<DType, number> = { f32: 4, f16: 2, bool: 1, u32: 4 };
const MAX_ELEMENTS = 2 ** 32; // kernels index with u32

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
export const byteLength = (shape: readonly number[], dtype: DType): number => Math.ceil((elementCount(shape) * BYTES[dtype]) / 4) * 4;

/** Strides, in elements, of a dense row-major tensor. A size of 0 counts as 1, as in PyTorch. */
export function rowMajor(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * Math.max(1, shape[i + 1]!);
  return strides;
}

/** The layout of a dense f32 tensor with offset 0. */
export const dense = (shape: readonly number[]): Layout => ({
  shape,
  dtype: 'f32',
  offset: 0,
  strides: rowMajor(shape),
  bytes: byteLength(shape, 'f32'),
});

/** Checks that every size is an integer ≥ 0. `what` opens the error message: `upload: shape`. @throws AttentionError 'shape', 'limit' */
export function checkShape(what: string, shape: unknown): asserts shape is readonly number[] {
  if (!Array.isArray(shape) || shape.length === 0) {
    throw new AttentionError('shape', `${what} is ${quote(shape)}: need an array of sizes, such as [1,8,256,64]`);
  }
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0)
      throw new AttentionError('shape', `${what} is ${quote(shape)}: every size must be an integer ≥ 0`);
  }
  const count = elementCount(shape.map((size) => Math.max(1, size))); // what has no elements is walked through all the same
  if (count > MAX_ELEMENTS)
    throw new AttentionError('limit', `${what} is ${quote(shape)}: ${count} elements, at most ${MAX_ELEMENTS} can be addressed`);
}

/** A caller's shape, read once. */
export function readShape(what: string, given: unknown): readonly number[] {
  const shape = copyList(what, given);
  checkShape(what, shape);
  return shape;
}

/** A caller's layout, each property read once: it is to be checked. @throws AttentionError 'shape' for what is no object, 'option' for a getter that throws */
export function readLayout(what: string, tensor: TensorLayout): TensorLayout {
  if (tensor === null || typeof tensor !== 'object')
    throw new AttentionError('shape', `${what} is ${quote(tensor)}: need a tensor with shape and dtype`);
  const { shape, dtype, offset, strides } = pick(what, tensor, ['shape', 'dtype', 'offset', 'strides']);
  const lists = { shape: copyList(`${what}.shape`, shape), strides: copyList(`${what}.strides`, strides) };
  return { ...lists, dtype, offset } as unknown as TensorLayout;
}

/** Checks a layout and fills in its defaults. `what` is the tensor's name with its function: `scaledDotProductAttention: k`. */
export function checkLayout(what: string, tensor: TensorLayout, use: 'input' | 'output'): Layout {
  const { shape, dtype, offset = 0, strides: given } = readLayout(what, tensor);
  checkShape(`${what}.shape`, shape);
  checkDType(`${what}.dtype`, dtype);
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % 4 !== 0) {
    throw new AttentionError('shape', `${what}.offset is ${quote(offset)}: need a whole number of bytes ≥ 0, a multiple of 4`);
  }
  const strides = given === undefined ? rowMajor(shape) : given;
  checkStrides(what, shape, strides, use);
  const last = elementCount(shape) === 0 ? -1 : shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, 0);
  if (offset / BYTES[dtype] + last >= MAX_ELEMENTS) {
    throw new AttentionError(
      'limit',
      `${what} ends at element ${last} after byte ${offset}: at most ${MAX_ELEMENTS} elements can be addressed`,
    );
  }
  return { shape, dtype, offset, strides, bytes: Math.ceil(((last + 1) * BYTES[dtype]) / 4) * 4 };
}

export function checkDType(what: string, dtype: unknown): asserts dtype is DType {
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES, dtype)) {
    throw new AttentionError('dtype', `${what} is ${quote(dtype)}: need one of ${Object.keys(BYTES).join(', ')}`);
  }
}

function checkStrides(
  what: string,
  shape: readonly number[],
  strides: unknown,
  use: 'input' | 'output',
): asserts strides is readonly number[] {
  const fail = (need: string): never => {
    throw new AttentionError('shape', `${what}.strides are ${quote(strides)} for shape ${quote(shape)}: ${need}`);
  };
  if (!Array.isArray(strides) || strides.length !== shape.length) return fail(`need ${shape.length} numbers`);
  if (strides.some((stride) => !Number.isSafeInteger(stride) || stride < 0)) return fail('every stride must be an integer ≥ 0');
  const last = shape.length - 1;
  if (shape[last]! > 1 && strides[last] !== 1) return fail('the last one must be 1');
  if (use === 'input' || elementCount(shape) === 0) return;
  // In an output no two elements may overlap. In the order of strides, each dimension must step over the whole extent of the ones before it.
  let span = 1;
  const order = shape.map((size, i) => ({ size, stride: strides[i] as number })).filter(({ size }) => size > 1);
  for (const { size, stride } of order.sort((a, b) => a.stride - b.stride)) {
    if (stride < span) fail('elements of an output must not overlap');
    span = stride * (size - 1) + span;
  }
}

/**
 * Whether a kernel can use one layout for the other. Type, shape, strides and the offset modulo the alignment must be equal. The stride of a dimension of
 * size 1 does not count.
 */
export function sameLayout(a: Layout, b: Layout, offsetAlignment: number): boolean {
  return (
    a.dtype === b.dtype &&
    a.offset % offsetAlignment === b.offset % offsetAlignment &&
    a.shape.length === b.shape.length &&
    a.shape.every((size, i) => size === b.shape[i] && (size === 1 || a.bytes === 0 || a.strides[i] === b.strides[i]))
  );
}

/** A layout as an error message quotes it. */
export function describeLayout({ shape, dtype, strides, offset }: Layout): string {
  const isDense = rowMajor(shape).every((stride, i) => shape[i] === 1 || stride === strides[i]);
  return `${dtype} ${quote(shape)}${isDense ? '' : ` strides ${quote(strides)}`}${offset === 0 ? '' : ` offset ${offset}`}`;
}
