/** The device of an Attention, requested or the caller's, and the waits on it. Every wait ends when the device is lost. */
import { AttentionError, quote } from '../contract/errors.ts';
import { isNative } from './native.ts';

const FEATURES = ['shader-f16', 'subgroups', 'subgroup-size-control', 'timestamp-query'] as readonly GPUFeatureName[];
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
] as const satisfies readonly (keyof GPUSupportedLimits)[];

/** Requests a device with every feature that the library can use, and with the adapter's limits. @throws AttentionError 'no-webgpu' */
export async function requestDevice(powerPreference: GPUPowerPreference | undefined): Promise<GPUDevice> {
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) {
    throw new AttentionError(
      'no-webgpu',
      'createAttention: this browser or runtime has no WebGPU: navigator.gpu is undefined (a page needs HTTPS or localhost)',
    );
  }
  const adapter = await gpu.requestAdapter(powerPreference ? { powerPreference } : {});
  if (!adapter) throw new AttentionError('no-webgpu', 'createAttention: WebGPU offers no adapter here: requestAdapter gave null');
  const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature));
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  try {
    return await adapter.requestDevice({ label: 'webgpu-attention', requiredFeatures, requiredLimits });
  } catch (cause) {
    throw new AttentionError('no-webgpu', `createAttention: the adapter gave no device: ${(cause as Error).message}`, { cause });
  }
}

export function checkDevice(device: unknown): asserts device is GPUDevice {
  if (!isNative(device, 'GPUDevice'))
    throw new AttentionError('option', `createAttention: device is ${quote(device)}: need a GPUDevice, and not a proxy of one`);
}

/**
 * Waits for a mapping or for the queue, and makes Firefox report the outcome soon. Firefox polls for finished work at every submit, and otherwise every
 * 100 ms. Empty submits at growing intervals make it poll. Firefox ESR 153 then maps 4 KB in 2 ms instead of 81. Chromium 143 takes 0.5 ms either way,
 * mostly before the first empty submit (24 Nov 2026).
 * There are at most 12 empty submits, within a quarter of a second; with a growth of 1.1 at most 49, within a second. Longer waits are left to Firefox's
 * own polling.
 * @param growth the factor from one interval to the next; the first interval is 1 ms
 */
export async function hasten(device: GPUDevice, outcome: Promise<undefined>, growth = 1.5): Promise<void> {
  let isSettled = false;
  const settled = outcome.finally(() => {
    isSettled = true;
  });
  settled.catch(() => {}); // when a submit throws, nobody awaits `settled`: its rejection is ignored
  for (let ms = 1; ms < 100; ms *= growth) {
    await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, ms))]);
    if (isSettled) break;
    device.queue.submit([]);
  }
  return settled;
}

/** `device.popErrorScope()`, always as a promise: on a lost device the call itself may throw. A rejection that nobody awaits is ignored. */
export function popErrorScope(device: GPUDevice): Promise<GPUError | null> {
  const scope = (async () => device.popErrorScope())();
  scope.catch(() => {});
  return scope;
}

/** Destroys an object and ignores errors: on a lost device the call may throw. */
export function destroyQuietly(object: { destroy(): void }): void {
  try {
    object.destroy();
  } catch {} // the object is gone already
}

/** Milliseconds to wait, after a failure, for `device.lost` to resolve. */
const LOSS_MS = 2000; // a busy Firefox took longer than 200 ms (1 Dec 2026)

/** The lifetime of a device. It ends when the device is lost or the Attention is destroyed. Every wait on the device then rejects. */
export class Lifeline {
  private reason: string | undefined;
  private readonly pending = new Set<(error: AttentionError) => void>();

  constructor(readonly device: GPUDevice) {
    void device.lost.then(({ reason, message }) => this.end(`the device was lost (${reason}): ${message}`));
  }

  /** From now on every check throws and every wait rejects. The first reason stays. */
  end(reason: string): void {
    this.reason ??= reason;
    for (const reject of this.pending) reject(this.error('a pending call'));
    this.pending.clear();
  }

  /** @throws AttentionError 'device-lost' */
  check(caller: string): void {
    if (this.reason !== undefined) throw this.error(caller);
  }

  /** The promise's outcome. Rejects with 'device-lost' as soon as the device is lost. Any other failure on a lost device becomes 'device-lost' too. */
  async wait<T>(caller: string, promise: Promise<T>): Promise<T> {
    promise.catch(() => {}); // after 'device-lost' nobody awaits the promise: its rejection is ignored
    this.check(caller);
    let end: (error: AttentionError) => void = () => {};
    const ended = new Promise<never>((_, reject) => {
      end = reject;
      this.pending.add(reject);
    });
    try {
      return await Promise.race([promise, ended]);
    } catch (error) {
      // On a lost device a call may fail before `device.lost` resolves.
      if (!(error instanceof AttentionError) || error.code === 'compile')
        await Promise.race([this.device.lost, new Promise((resolve) => setTimeout(resolve, LOSS_MS))]);
      this.check(caller);
      throw error;
    } finally {
      this.pending.delete(end);
    }
  }

  /**
   * Runs a synchronous WebGPU call. On a lost device some engines throw, even before `device.lost` resolves. Such an error becomes 'device-lost'.
   * A TypeError or a RangeError is about the arguments and is thrown on.
   */
  now<T>(caller: string, body: () => T): T {
    try {
      return body();
    } catch (error) {
      this.check(caller);
      const { name, message } = error as Error;
      if (['AttentionError', 'TypeError', 'RangeError'].includes(name)) throw error;
      throw new AttentionError('device-lost', `${caller}: the device failed (${name}): ${message}`, { cause: error });
    }
  }

  /**
   * Records and submits commands synchronously, within an error scope. Resolves when the device has accepted them.
   * @throws AttentionError 'option' with WebGPU's message, such as for a buffer of another device
   */
  async submit(caller: string, record: (encoder: GPUCommandEncoder) => void): Promise<void> {
    this.check(caller);
    const error = await this.wait(caller, this.submitNow(caller, record));
    if (error) throw new AttentionError('option', `${caller}: WebGPU refused the tensors: ${error.message}`, { cause: error });
  }

  private async submitNow(caller: string, record: (encoder: GPUCommandEncoder) => void): Promise<GPUError | null> {
    let scope: Promise<GPUError | null> | undefined;
    this.device.pushErrorScope('validation');
    try {
      const encoder = this.device.createCommandEncoder({ label: caller });
      record(encoder);
      this.device.queue.submit([encoder.finish()]);
    } finally {
      scope = popErrorScope(this.device);
    }
    return scope;
  }

  private error(caller: string): AttentionError {
    return new AttentionError('device-lost', `${caller}: ${this.reason}`);
  }
}
