/** Converts between arrays in host memory and the bytes of a buffer. */
import { AttentionError, quote } from './errors.ts';
import { fromHalf, toHalf } from './half.ts';
import { type FloatData, type HostArray, type IntegerArray, isArray, type Nested, readArray, typesOf } from './host-array.ts';
import { pick } from './record.ts';
import { byteLength, type DType, elementCount, type HostTensor, type Layout, readShape, rowMajor } from './tensor.ts';

/** Floating-point numbers as calls take them: arrays, whose nesting is the shape, or { data, shape }. */
export type HostInput = FloatData | { readonly data: FloatData; readonly shape: readonly number[] };

/** Booleans in host memory. true or non-zero means attend. */
export interface BooleanTensor {
  readonly data: Nested<boolean> | Int8Array | Uint8Array | Uint8ClampedArray;
  readonly shape: readonly number[];
}

/** Whole numbers, such as tokens: a list, nested arrays, or { data, shape }. */
export type Integers = IntegerData | { readonly data: IntegerData; readonly shape: readonly number[] };
type IntegerData = IntegerArray | Nested<number> | Nested<bigint> | Nested<IntegerArray>;

/**
 * Host data as a buffer holds it. The length of `bytes` is a multiple of 4.
 * @param shape default: the shape of the data
 * @param dtype default: the first of `typesOf` the data
 * @throws AttentionError 'shape', 'dtype', 'option', 'limit'
 */
export function toBytes(
  data: unknown,
  shape: readonly number[] | undefined,
  dtype: DType | undefined,
): { bytes: Uint8Array<ArrayBuffer>; dtype: DType; shape: readonly number[] } {
  const what = 'upload: data';
  const read = readArray(what, data);
  const shaped = withShape(what, read, shape === undefined ? read.nesting : shape, 'upload: shape');
  const [natural, ...others] = typesOf(shaped);
  const type = dtype ?? natural!;
  if (type !== natural && !others.includes(type)) {
    const possible = [natural, ...others].join(' or ');
    throw new AttentionError('dtype', `upload: dtype is ${quote(dtype)}: ${quote(data)} becomes ${possible}`);
  }
  const bytes = new Uint8Array(byteLength(shaped.shape, type));
  const { kind, values } = shaped;
  if (type === 'f32') new Float32Array(bytes.buffer).set(values as ArrayLike<number>);
  else if (type === 'u32') new Uint32Array(bytes.buffer).set(wholeNumbers(what, shaped));
  else if (type === 'bool') bytes.set(truthValues(what, shaped));
  else new Uint16Array(bytes.buffer).set(kind === 'Uint16Array' ? (values as Uint16Array) : Uint16Array.from(values as number[], toHalf));
  return { bytes, dtype: type, shape: shaped.shape };
}

/** Floating-point numbers and their shape. `what` opens the error messages: `selfAttention: inputs`. @throws AttentionError 'shape', 'dtype' */
export function readFloats(what: string, value: unknown): HostTensor {
  return floatsOf(what, readTensor(what, value));
}

function floatsOf(what: string, read: Shaped): HostTensor {
  if (!typesOf(read).some((type) => type === 'f32' || type === 'f16')) throw wrongKind(what, read, 'numbers, as of a Float32Array');
  const { kind, shape } = read;
  const values = read.values as ArrayLike<number>;
  if (kind === 'Uint16Array') return { data: Float32Array.from(values, fromHalf), shape };
  if (kind === 'Float16Array') return { data: Float32Array.from(values), shape };
  return { data: kind === 'Float32Array' ? Float32Array.from(values) : Float64Array.from(values), shape }; // a copy: the caller may go on writing
}

/** A mask: booleans as 0 and 1, or numbers to add to the scores. @throws AttentionError 'shape', 'dtype' */
export function readMask(what: string, value: unknown): { dtype: 'bool' | 'f32'; data: ArrayLike<number>; shape: readonly number[] } {
  const read = readTensor(what, value);
  const [natural] = typesOf(read);
  if (natural === 'bool') return { dtype: 'bool', data: truthValues(what, read), shape: read.shape };
  const { data, shape } = floatsOf(what, read);
  const isLowest = (number: number) => natural === 'f16' && number <= -65504; // f16's lowest value excludes a key as −∞ does
  return { dtype: 'f32', data: data.map((number) => (isLowest(number) ? Number.NEGATIVE_INFINITY : number)), shape };
}

/**
 * Whole numbers from `least` to `most`, and their shape. A negative number is stored as its two's complement.
 * @throws AttentionError 'shape', 'dtype', 'option'
 */
export function readIntegers(
  what: string,
  value: unknown,
  least = 0,
  most = 2 ** 32 - 1,
): { data: Uint32Array<ArrayBuffer>; shape: readonly number[] } {
  const read = readTensor(what, value);
  if (!typesOf(read).includes('u32')) throw wrongKind(what, read, 'whole numbers');
  return { data: wholeNumbers(what, read, least, most), shape: read.shape };
}

const wrongKind = (what: string, { values }: Shaped, need: string): AttentionError =>
  new AttentionError('dtype', `${what} is ${quote(values)}: need ${need}`);

/** An array with a shape. */
interface Shaped extends HostArray {
  readonly shape: readonly number[];
}

/** Reads an array, or { data, shape }. */
function readTensor(what: string, value: unknown): Shaped {
  if (isArray(what, value)) {
    const read = readArray(what, value);
    return withShape(what, read, read.nesting, what);
  }
  const isObject = typeof value === 'object' && value !== null;
  const { data, shape } = isObject ? pick(what, value, ['data', 'shape']) : {};
  if (data === undefined) throw new AttentionError('shape', `${what} is ${quote(value)}: need rows of numbers, or { data, shape }`);
  return withShape(what, readArray(what, data), shape, `${what}.shape`);
}

/** Gives an array a shape. Nested arrays must have this shape already. `name` names the shape in error messages. */
function withShape(what: string, array: HostArray, given: unknown, name: string): Shaped {
  const shape = readShape(name, given);
  const count = array.values.length;
  if (count !== elementCount(shape))
    throw new AttentionError('shape', `${what} has ${count} elements for shape ${quote(shape)}: need ${elementCount(shape)}`);
  const { nesting } = array;
  if (nesting.length > 1 && (nesting.length !== shape.length || nesting.some((size, axis) => size !== shape[axis])))
    throw new AttentionError('shape', `${name} is ${quote(shape)}, and ${what} is nested as ${quote(nesting)}: must be equal`);
  return { ...array, shape };
}

function wholeNumbers(what: string, array: HostArray, least = 0, most = 2 ** 32 - 1): Uint32Array<ArrayBuffer> {
  const numbers = new Uint32Array(array.values.length);
  for (let i = 0; i < numbers.length; i++) {
    const value = array.values[i]!;
    const number = Number(value);
    if (!Number.isInteger(number) || number < least || number > most)
      throw new AttentionError('option', `${what}${subscriptOf(array, i)} is ${quote(value)}: need an integer from ${least} to ${most}`);
    numbers[i] = number;
  }
  return numbers;
}

/** Booleans as 1 and 0. In an array of integers everything but 0 is true. Plain numbers must be 0 or 1: others look like a mask to add to the scores. */
function truthValues(what: string, array: HostArray): Uint8Array {
  const truth = new Uint8Array(array.values.length);
  for (let i = 0; i < truth.length; i++) {
    const value = array.values[i]!;
    if (array.kind === 'number' && value !== 0 && value !== 1)
      throw new AttentionError('option', `${what}${subscriptOf(array, i)} is ${quote(value)}: need 0 or 1 for dtype 'bool'`);
    truth[i] = Number(Boolean(value));
  }
  return truth;
}

/** The subscript of an element, for error messages: `[3]`, or `[1][0]` in nested arrays. */
function subscriptOf({ nesting }: HostArray, i: number): string {
  const strides = rowMajor(nesting);
  return nesting.map((size, axis) => `[${Math.floor(i / strides[axis]!) % size}]`).join('');
}

/** The elements of a view, dense and row-major. `bytes` begins at the view's first element and reaches to its last one. */
export function gather(bytes: ArrayBuffer, { shape, strides, dtype }: Layout): Float32Array | Float64Array {
  const source = new { f32: Float32Array, f16: Uint16Array, bool: Uint8Array, u32: Uint32Array }[dtype](bytes);
  const decode = { f32: Number, f16: fromHalf, bool: (value: number) => Number(value !== 0), u32: Number }[dtype];
  const count = elementCount(shape);
  const isDense = rowMajor(shape).every((stride, axis) => shape[axis] === 1 || stride === strides[axis]);
  if (source instanceof Float32Array && isDense) return source.slice(0, count);
  const out = dtype === 'u32' ? new Float64Array(count) : new Float32Array(count); // f64 holds every u32
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0, at = 0; i < count; i++) {
    out[i] = decode(source[at]!);
    // On to the next element: the last axis runs fastest.
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      at -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return out;
}
