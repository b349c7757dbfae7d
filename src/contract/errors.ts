/** The kind of an error, for code to test. The message is for people. */
export type AttentionErrorCode =
  | 'shape' // a wrong shape, stride, offset or length
  | 'dtype' // a wrong element type
  | 'option' // a wrong value of an option, or a buffer that may not be used in this way
  | 'limit' // more than this device, or WebGPU, can address
  | 'unsupported' // a valid request that the device or the kernel asked for cannot serve: the message says why
  | 'no-webgpu' // no navigator.gpu, or no adapter
  | 'out-of-memory' // the device could not allocate a buffer
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

/** A value as an error message quotes it: `[1,8,256,64]`, `"lower"`, `NaN`, `5n`, `Float32Array(3)`, `GPUBuffer`. */
export function quote(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return value.name || 'a function';
  if (Array.isArray(value)) {
    const shown = value.slice(0, 8).map(quote);
    return `[${shown.join(',')}${value.length > 8 ? `,… ${value.length} in all` : ''}]`;
  }
  if (ArrayBuffer.isView(value))
    return `${Object.prototype.toString.call(value).slice(8, -1)}(${(value as Uint8Array).length ?? value.byteLength})`;
  if (value !== null && typeof value === 'object') {
    const name = value.constructor?.name ?? 'object';
    return name === 'Object' ? `{${Object.keys(value).join(', ')}}` : name;
  }
  return String(value);
}
