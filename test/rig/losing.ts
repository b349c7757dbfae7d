/** Devices that are lost in the middle of something, and then throw, as Deno's do: WebGPU's specification lets lost devices be silent. */
import { requestDefaultDevice } from './gpu.ts';

export interface Losing {
  readonly device: GPUDevice;
  /** Loses the device at the `count`-th call from now on to it, its queue, one of its buffers or encoders; that call throws, and so does each that follows. */
  loseAt(count: number): void;
  readonly isLost: boolean;
}

/** @param thrown what the calls throw once the device is lost */
export async function losingDevice(thrown: (method: string) => unknown): Promise<Losing> {
  const device = await requestDefaultDevice();
  const destroy = device.destroy.bind(device);
  let calls = Number.POSITIVE_INFINITY; // until the device is lost
  let isLost = false;
  const enter = (method: string) => {
    if (--calls > 0) return;
    isLost = true;
    destroy();
    throw thrown(method);
  };
  const isWatched = (made: unknown): made is object => made instanceof GPUBuffer || made instanceof GPUCommandEncoder;
  const watch = <T extends object>(object: T): T => {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(object)))) {
      if (typeof value !== 'function' || name === 'constructor') continue;
      const watched = (...given: unknown[]) => {
        enter(name);
        const made: unknown = value.apply(object, given);
        return isWatched(made) ? watch(made) : made;
      };
      Object.defineProperty(object, name, { value: watched });
    }
    return object;
  };
  watch(device.queue);
  watch(device);
  return {
    device,
    loseAt: (count) => {
      calls = count;
    },
    get isLost() {
      return isLost;
    },
  };
}
