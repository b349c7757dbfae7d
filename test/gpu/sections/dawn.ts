/** Gives Node what a browser has: navigator.gpu, by the packed npm package `webgpu`. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { endWithCommand } from '../../rig/guard.ts';

/** Where the pack lies unpacked. */
export const HOME = process.env.GPU_PACK_HOME ?? '';

/** Browsers round time stamps to 0.1 ms. */
export const EXACT_STAMPS = 'disable-dawn-features=timestamp_quantization';

interface Dawn {
  create(flags: readonly string[]): GPU;
  readonly globals: object;
}

/**
 * @param flags Dawn's
 * @param isPatient asks for finished work once a millisecond, which leaves the core to others; otherwise without a pause
 */
export async function openGpu(flags: readonly string[] = [], isPatient = false): Promise<GPU> {
  endWithCommand();
  const { create, globals } = (await import(/* @vite-ignore */ pathToFileURL(join(HOME, 'webgpu/index.js')).href)) as Dawn;
  const gpu = create(flags);
  // The object that create() returned must stay reachable, or the process crashes.
  Object.assign(globalThis, globals, { keptGpu: gpu });
  // Its getter is the prototype's, as in browsers.
  class Navigator {
    readonly userAgent = `Node.js/${process.versions.node}`;
    get gpu(): GPU {
      return gpu;
    }
  }
  Object.defineProperty(globalThis, 'navigator', { value: new Navigator(), configurable: true });
  if (isPatient) {
    const setImmediate = <A extends unknown[]>(tick: (...args: A) => void, ...args: A) => setTimeout(tick, 1, ...args);
    Object.assign(globalThis, { setImmediate });
  }
  return gpu;
}
