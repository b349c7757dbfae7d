/** The device of an Attention: asked for, or the caller's; and every wait on it, which ends when the device is lost. */
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

/** A device with every feature the library can use and the adapter's limits. */
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
 * The outcome of a mapping, or of waiting for the queue, as soon as there is one. Firefox looks for finished work at every submit, and else each
 * 100 ms: empty submits, at intervals that grow, make it look. Firefox ESR 153 then maps 4 KB in 2 ms instead of 81; Chromium 143 takes 0.5 ms
 * either way, mostly before the first (24 Nov 2026). There are at most 12, within a quarter of a second; with a growth of 1.1 at most 49, within a
 * second: what takes longer may wait for Firefox's next look.
 */
export async function hasten(device: GPUDevice, outcome: Promise<undefined>, growth = 1.5): Promise<void> {
  let isSettled = false;
  const settled = outcome.finally(() => {
    isSettled = true;
  });
  settled.catch(() => {}); // when a submit throws, nobody waits for it
  for (let ms = 1; ms < 100; ms *= growth) {
    await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, ms))]);
    if (isSettled) break;
    device.queue.submit([]);
  }
  return settled;
}

/** `device.popErrorScope()` as a promise in any case: on a lost device it may throw at once. When nobody waits for it, its failure is no news. */
export function popErrorScope(device: GPUDevice): Promise<GPUError | null> {
  const scope = (async () => device.popErrorScope())();
  scope.catch(() => {});
  return scope;
}

/** Destroys what may be gone already: on a lost device the call may throw. */
export function destroyQuietly(object: { destroy(): void }): void {
  try {
    object.destroy();
  } catch {} // nothing is left of it
}

/** How long after a failure a lost device may take to say that it is lost. */
const LOSS_MS = 2000; // a busy Firefox took longer than 200 (1 Dec 2026)

/** A device that may end: every wait on it ends then too. */
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

  /** The promise's outcome, or 'device-lost' as soon as the device is. Whatever else fails on a lost device is 'device-lost' too. */
  async wait<T>(caller: string, promise: Promise<T>): Promise<T> {
    promise.catch(() => {}); // where nobody waits for it any more, its failure is no news
    this.check(caller);
    let end: (error: AttentionError) => void = () => {};
    const ended = new Promise<never>((_, reject) => {
      end = reject;
      this.pending.add(reject);
    });
    try {
      return await Promise.race([promise, ended]);
    } catch (error) {
      // What fails first on a lost device may fail before `device.lost` says so.
      if (!(error instanceof AttentionError) || error.code === 'compile')
        await Promise.race([this.device.lost, new Promise((resolve) => setTimeout(resolve, LOSS_MS))]);
      this.check(caller);
      throw error;
    } finally {
      this.pending.delete(end);
    }
  }

  /**
   * What the engine does at once, without a promise. Some engines throw on a lost device, and before `device.lost` says so: such a failure is 'device-lost' too.
   * A TypeError or a RangeError is about the arguments.
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
   * Records and submits commands at once, within an error scope of its own; resolves when the device has accepted them.
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
