/** The kind of an error, for code to test. The message is for people. */
export type AttentionErrorCode =
  | 'shape' // a wrong shape, stride, offset or length
  | 'dtype' // a wrong element type
  | 'option' // a wrong value of an option, or a buffer that may not be used in this way
  | 'limit' // more than this device, or WebGPU, can address
  | 'unsupported' // a valid request that the device or the kernel asked for cannot serve: the message says why
  | 'no-webgpu' // no navigator.gpu, or no adapter
  | 'out-of-memory' // the device could not allocate a buffer, or the computer an array
  | 'device-lost' // the device is lost, or the Attention was destroyed
  | 'compile'; // a shader did not compile: a defect of the library or of the driver

/** Every error of this library. The message names the function and quotes what it got and what it needs. */
export class AttentionError extends Error {
  override readonly name = 'AttentionError';
  constructor(
    readonly code: AttentionErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Runs `body`, and puts the caller's name before the message of an AttentionError that it throws. For checks that do not know their caller. */
export function naming<T>(caller: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof AttentionError) throw new AttentionError(error.code, `${caller}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** What `body` returns. Where the computer's memory does not hold what it makes, the error says so. */
export function withinMemory<T>(caller: string, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    if (cause instanceof RangeError) throw new AttentionError('out-of-memory', `${caller}: ${cause.message}`, { cause });
    throw cause;
  }
}

/**
 * A value as an error message quotes it: `[1,8,256,64]`, `"lower"`, `NaN`, `5n`, `Float32Array(3)`, `GPUBuffer`, `{width, heads}`. It never throws, whatever the
 * value does when it is looked at, and it says little of what is large.
 */
export function quote(value: unknown): string {
  try {
    return describe(value, 0);
  } catch {
    return 'a value that cannot be read';
  }
}

const SHOWN = 8; // elements of an array, or names of an object
const DEEPEST = 4; // arrays in arrays
const typedArrays = Object.getPrototypeOf(Uint8Array.prototype) as object;

function describe(value: unknown, depth: number): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return (typeof value.name === 'string' && value.name) || 'a function';
  if (value === null || typeof value !== 'object') return String(value);
  if (Array.isArray(value)) {
    if (depth === DEEPEST) return '[…]';
    const { length } = value;
    const shown = Array.from({ length: Math.min(length, SHOWN) }, (_, i) => describe(value[i], depth + 1));
    return `[${shown.join(',')}${length > SHOWN ? `,… ${length} in all` : ''}]`;
  }
  if (ArrayBuffer.isView(value)) {
    const own = (property: string | symbol): unknown => Reflect.get(typedArrays, property, value); // also where the array lost its prototype
    const kind = own(Symbol.toStringTag);
    return kind ? `${kind}(${own('length')})` : `DataView(${Reflect.get(DataView.prototype, 'byteLength', value)})`;
  }
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (tag === 'Error') return String(value);
  if (tag !== 'Object') return tag;
  const name: unknown = value.constructor?.name;
  if (typeof name === 'string' && name !== '' && name !== 'Object') return name;
  const names = Object.keys(value);
  return `{${names.slice(0, SHOWN).join(', ')}${names.length > SHOWN ? `, … ${names.length} in all` : ''}}`;
}
