/** Reads an outside test case: NAME.json says what lies where in NAME.bin, little endian. */
import { cases, casesBase } from 'virtual:outside-cases';
import { fromHalf } from '../../src/contract/half.ts';
import type { Attention, DType, GpuTensor } from '../../src/index.ts';
import { expectNear as near } from '../rig/tolerance.ts';

export interface CaseTensor {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly data: Float32Array<ArrayBuffer>;
}

export interface OutsideCase {
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly nodeInputs: readonly string[]; // by position; '' where one is absent
  readonly nodeOutputs: readonly string[];
  readonly inputs: Readonly<Record<string, CaseTensor>>;
  readonly outputs: Readonly<Record<string, CaseTensor>>;
}

/** Whether the outside cases are here; a suite without them is skipped. */
export const areAbsent = !casesBase;

/** A folder's cases; in their place, what to do to have them. */
export const casesOf = (folder: keyof typeof cases): readonly string[] =>
  casesBase ? cases[folder] : ['set ATTENTION_CASES to the folder of outside test cases'];

/** Within 5e-6, relative to the largest value where that exceeds 1, and what rounding the element itself costs. An excluded element is at most −3e38. */
export function expectNear(what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, within = 5e-6, rounding = 0): void {
  // An excluded element, at most −3e38 in either, counts as −∞.
  const plain = (values: ArrayLike<number>) => Float64Array.from(values, (value) => (value <= -3e38 ? -Infinity : value));
  const largest = Array.from(expected).reduce((most, value) => (value <= -3e38 ? most : Math.max(most, Math.abs(value))), 1);
  near(what, plain(actual), plain(expected), (value) => (value === -Infinity ? 0 : within * largest + rounding * Math.abs(value)));
}

/** A boolean tensor as bytes, any other as it is. */
export const hostMask = ({ dtype, data, shape }: CaseTensor) =>
  dtype === 'bool' ? { data: Uint8Array.from(data), shape, dtype } : { data, shape, dtype };

/** What a case's numbers run as: f16 where the case and the device have it, else f32. */
export const floatOn = ({ device }: Attention, dtype: string): DType =>
  dtype === 'f16' && device.features.has('shader-f16') ? 'f16' : 'f32';

export type Uploadable = CaseTensor | ReturnType<typeof hostMask>;

export const uploadCase = (on: Attention, { data, shape, dtype }: Uploadable): GpuTensor =>
  on.upload(data, shape, dtype === 'bool' ? 'bool' : floatOn(on, dtype));

export async function readCase(name: string): Promise<OutsideCase> {
  const [json, bytes] = await Promise.all([
    get(`${name}.json`).then((response) => response.json()),
    get(`${name}.bin`).then((response) => response.arrayBuffer()),
  ]);
  const decode = (tensors: Record<string, { dtype: string; shape: number[]; offset: number; bytes: number }>) =>
    Object.fromEntries(
      Object.entries(tensors).map(([key, { dtype, shape, offset, bytes: length }]) => [
        key,
        { dtype, shape, data: toFloat32(dtype, bytes.slice(offset, offset + length)) },
      ]),
    );
  return {
    attributes: json.attributes,
    nodeInputs: json.node_inputs,
    nodeOutputs: json.node_outputs,
    inputs: decode(json.inputs),
    outputs: decode(json.outputs),
  };
}

export async function get(path: string): Promise<Response> {
  const response = await fetch(`${casesBase}${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

function toFloat32(dtype: string, bytes: ArrayBuffer): Float32Array<ArrayBuffer> {
  if (dtype === 'f32') return new Float32Array(bytes);
  if (dtype === 'f64') return Float32Array.from(new Float64Array(bytes));
  if (dtype === 'i64') return Float32Array.from(new BigInt64Array(bytes), Number);
  if (dtype === 'bool' || dtype === 'u8') return Float32Array.from(new Uint8Array(bytes));
  if (dtype === 'bf16') return new Float32Array(Uint32Array.from(new Uint16Array(bytes), (bits) => bits << 16).buffer);
  if (dtype === 'f16') return Float32Array.from(new Uint16Array(bytes), fromHalf);
  throw new Error(`no reader for ${dtype}`);
}
