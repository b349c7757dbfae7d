/** Tensors as callers give them, read once into plain objects. */
import { reading } from './record.ts';
import { type GpuTensor, readLayout } from './tensor.ts';

/** A tensor carries its buffer's generation; so do its copies, proxies and views. A view that was written by hand has none. */
export const GENERATION = Symbol('generation');

/** @throws AttentionError 'shape' for what is no object, 'option' for a getter that throws */
export function readTensor(what: string, tensor: GpuTensor): GpuTensor {
  const layout = readLayout(what, tensor);
  const { buffer, generation } = reading(what, () => ({ buffer: tensor.buffer, generation: Reflect.get(tensor, GENERATION) }));
  return { ...layout, buffer, [GENERATION]: generation } as GpuTensor;
}

/** Those tensors that are given, by name. */
export function readTensors<Name extends string>(
  caller: string,
  tensors: Readonly<Record<Name, GpuTensor | undefined>>,
): Record<Name, GpuTensor> {
  const given = Object.entries<GpuTensor | undefined>(tensors).filter(([, tensor]) => tensor !== undefined);
  return Object.fromEntries(given.map(([name, tensor]) => [name, readTensor(`${caller}: ${name}`, tensor!)])) as Record<Name, GpuTensor>;
}
