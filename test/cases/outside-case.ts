/** Reads an outside test case: NAME.json says what lies where in NAME.bin, little endian. */
import { casesBase } from 'virtual:outside-cases';

export interface CaseTensor {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly data: Float32Array<ArrayBuffer>;
}

export interface OutsideCase {
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, CaseTensor>>;
  readonly outputs: Readonly<Record<string, CaseTensor>>;
}

/** What a skipped suite says. */
export const ABSENT = 'set ATTENTION_CASES to the folder of outside test cases';

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
  return { attributes: json.attributes, inputs: decode(json.inputs), outputs: decode(json.outputs) };
}

export async function get(path: string): Promise<Response> {
  const response = await fetch(`${casesBase}${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

function toFloat32(dtype: string, bytes: ArrayBuffer): Float32Array<ArrayBuffer> {
  if (dtype === 'f32') return new Float32Array(bytes);
  if (dtype === 'f64') return Float32Array.from(new Float64Array(bytes));
  if (dtype === 'bool' || dtype === 'u8') return Float32Array.from(new Uint8Array(bytes));
  if (dtype === 'bf16') return new Float32Array(Uint32Array.from(new Uint16Array(bytes), (bits) => bits << 16).buffer);
  if (dtype === 'f16') return Float32Array.from(new Uint16Array(bytes), halfToFloat);
  throw new Error(`no reader for ${dtype}`);
}

/** IEEE 754 binary16. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
