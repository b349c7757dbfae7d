/** Gives Node what a browser has: navigator.gpu and WebGPU's constants, from the npm package `webgpu` in the folder GPU_LAB. */
import { createRequire } from 'node:module';
import { join } from 'node:path';

if (!globalThis.navigator?.gpu) {
  const { create, globals } = createRequire(join(process.env.GPU_LAB!, 'package.json'))('webgpu') as {
    create(flags: string[]): GPU;
    globals: object;
  };
  const gpu = create([]);
  // The object that create() returned must stay reachable, or the process crashes.
  Object.assign(globalThis, globals, { keptGpu: gpu });
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
}
