import { AttentionError, quote } from '../errors.ts';
import { checkShape, elementCount, type HostTensor } from '../tensor.ts';

/** Truth values in the computer's memory: non-zero or true = attend. */
export interface BooleanTensor {
  readonly data: Uint8Array | readonly boolean[];
  readonly shape: readonly number[];
}

/** Whole numbers, such as key lengths: the bare numbers, or with their shape. */
export type Integers = readonly number[] | Uint32Array | { readonly data: ArrayLike<number>; readonly shape: readonly number[] };

/** Floating-point data of a host tensor, after its shape and length were checked. */
export function checkHostTensor(what: string, tensor: HostTensor): ArrayLike<number> {
  const data = tensor?.data;
  if (!(data instanceof Float32Array || data instanceof Float64Array)) {
    const code = data === undefined ? 'shape' : 'dtype';
    throw new AttentionError(code, `${what} is ${quote(data ?? tensor)}: need { data: Float32Array or Float64Array, shape }`);
  }
  return checkLength(what, data, tensor.shape);
}

/** A mask as numbers: 0 and 1 for a boolean one. */
export function checkHostMask(what: string, mask: HostTensor | BooleanTensor): { dtype: 'bool' | 'f32'; data: ArrayLike<number> } {
  if (mask?.data instanceof Uint8Array) return { dtype: 'bool', data: checkLength(what, mask.data, mask.shape) };
  if (Array.isArray(mask?.data) && mask.data.every((value) => typeof value === 'boolean'))
    return { dtype: 'bool', data: checkLength(what, Uint8Array.from(mask.data as boolean[], Number), mask.shape) };
  return { dtype: 'f32', data: checkHostTensor(what, mask as HostTensor) };
}

/** Key lengths as whole numbers ≥ 0 with their shape. */
export function checkIntegers(what: string, value: Integers): { data: ArrayLike<number>; shape: readonly number[] } {
  if (value === null || typeof value !== 'object' || !('data' in value || 'length' in value)) {
    throw new AttentionError('shape', `${what} is ${quote(value)}: need whole numbers, or { data, shape }`);
  }
  const tensor = 'data' in value ? value : { data: value, shape: [value.length] };
  const data = checkLength(what, tensor.data, tensor.shape);
  for (let i = 0; i < data.length; i++) {
    if (!Number.isSafeInteger(data[i]) || data[i]! < 0)
      throw new AttentionError('option', `${what}[${i}] is ${quote(data[i])}: need an integer ≥ 0`);
  }
  return { data, shape: tensor.shape };
}

function checkLength(what: string, data: ArrayLike<number>, shape: readonly number[]): ArrayLike<number> {
  checkShape(`${what}.shape`, shape);
  if (data.length !== elementCount(shape)) {
    throw new AttentionError('shape', `${what} has ${data.length} elements for shape ${quote(shape)}: need ${elementCount(shape)}`);
  }
  return data;
}
