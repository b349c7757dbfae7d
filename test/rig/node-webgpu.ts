/** Gives Node what a browser has: navigator.gpu and WebGPU constants, from the npm package `webgpu` in the folder GPU_LAB, and the outside cases. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { casesFolder } from './outside.ts';

if (!globalThis.navigator?.gpu) {
  const { create, globals } = createRequire(join(process.env.GPU_LAB!, 'package.json'))('webgpu') as {
    create(flags: string[]): GPU;
    globals: object;
  };
  const gpu = create([]);
  // The object that create() returned must stay reachable, or the process crashes.
  Object.assign(globalThis, globals, { keptGpu: gpu });
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  // Dawn asks for finished work from setImmediate, without a pause: a core that the device's compiler and shaders could have.
  Object.assign(globalThis, {
    setImmediate: <A extends unknown[]>(tick: (...args: A) => void, ...args: A) => setTimeout(tick, 1, ...args),
  });
}

/** The outside cases, which a browser asks the tests' server for, from their folder. */
const { fetch } = globalThis;
globalThis.fetch = async (input, init) => {
  const [, path] = String(input).match(/^\/@outside-cases\/(.*)/) ?? [];
  return path === undefined ? fetch(input, init) : new Response(new Uint8Array(await readFile(join(casesFolder!, path))));
};
