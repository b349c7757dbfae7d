/** The engine's own objects, and WebGPU's numbers, which not every runtime has as globals. */
import { AttentionError, quote } from '../contract/errors.ts';

export const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128, QUERY_RESOLVE: 512 } as const;
export const MAP_READ = 1;
export const STAGE_COMPUTE = 4;

/** Whether the engine made a value as what is named, in any realm. It is none where no engine takes it: a proxy, or an object that only looks like one. */
export function isNative(value: unknown, name: 'GPUDevice' | 'GPUBuffer' | 'GPUComputePassEncoder'): boolean {
  try {
    const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(value), 'label')!;
    get!.call(value); // throws for what has the class without being one
    return Object.prototype.toString.call(value) === `[object ${name}]`;
  } catch {
    return false;
  }
}

/** @throws AttentionError 'option' */
export function checkPass(caller: string, pass: unknown): void {
  if (!isNative(pass, 'GPUComputePassEncoder'))
    throw new AttentionError('option', `${caller}: pass is ${quote(pass)}: need a GPUComputePassEncoder, and not a proxy of one`);
}
