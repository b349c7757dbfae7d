/** Between arrays in the computer's memory and the bytes of a buffer. */
import { AttentionError, quote } from './errors.ts';
import { fromHalf, toHalf } from './half.ts';
import { byteLength, type DType, elementCount, type Layout, rowMajor } from './tensor.ts';

/** What `upload` accepts. */
export type HostData = Float32Array | Float64Array | Uint16Array | Uint32Array | Uint8Array | readonly number[];

/** The bytes of host data as a buffer holds them, a multiple of 4 long, and their element type. */
export function toBytes(data: HostData, dtype: DType | undefined): { bytes: Uint8Array<ArrayBuffer>; dtype: DType } {
  const natural = naturalType(data);
  const type = dtype ?? natural;
  if (type !== natural && !(natural === 'f32' && type === 'f16')) {
    throw new AttentionError(
      'dtype',
      `upload: dtype is ${quote(dtype)}: ${quote(data)} becomes ${natural}${natural === 'f32' ? ' or f16' : ''}`,
    );
  }
  const bytes = new Uint8Array(byteLength([data.length], type));
  if (type === 'f32') new Float32Array(bytes.buffer).set(data);
  else if (type === 'u32') new Uint32Array(bytes.buffer).set(data);
  else if (type === 'bool') bytes.set(data);
  else new Uint16Array(bytes.buffer).set(natural === 'f16' ? data : Uint16Array.from(data, toHalf));
  return { bytes, dtype: type };
}

function naturalType(data: unknown): DType {
  if (data instanceof Float32Array || data instanceof Float64Array) return 'f32';
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) return 'bool';
  if (data instanceof Uint16Array) return 'f16';
  if (data instanceof Uint32Array) return 'u32';
  if (!Array.isArray(data))
    throw new AttentionError(
      'dtype',
      `upload: data is ${quote(data)}: need Float32Array, Float64Array, number[], Uint16Array, Uint8Array or Uint32Array`,
    );
  const bad = data.findIndex((value) => typeof value !== 'number');
  if (bad >= 0) throw new AttentionError('dtype', `upload: data[${bad}] is ${quote(data[bad])}: need a number`);
  return 'f32';
}

/** The elements of a view, read from the bytes between its first and its last one, dense and row-major. */
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
