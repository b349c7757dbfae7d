/** What a contestant has to offer, and the layouts that peers want. */
import type { Inputs, NamedWork } from './works.ts';

/** One contestant's attention of one work. Its inputs are where it wants them before start(): on the GPU, if it has one. */
export interface Player {
  /** What happens at the first call alone: compiling, tracing, loading the model. */
  start(): Promise<void>;
  /** Starts that many calls one after another, and waits until the device has done them. */
  run(calls: number): Promise<void>;
  /** The last call's answer, [1,H,N,D]; with the gradients those of q, k and v behind it: what is timed is what is checked. */
  read(): Promise<Float32Array>;
  /** How attention is called, in words; known once it has run. */
  how(): string;
}

export interface Given {
  readonly work: NamedWork;
  readonly inputs: Inputs;
  readonly variant: string; // the contestant's: see contestants.ts
  readonly base: string; // address of the folder with the peers' packages
  readonly load: Load;
}

/** Imports a module by its address. */
// biome-ignore lint/suspicious/noExplicitAny: the peers' packages are not the project's dependencies, so their types may not be there
export type Load = (address: string) => Promise<any>;

/** [heads,length,D] to [length,heads,D], or back with the two lengths swapped. */
export function swapAxes(data: Float32Array, outer: number, inner: number): Float32Array<ArrayBuffer> {
  const size = data.length / (outer * inner);
  const swapped = new Float32Array(data.length);
  for (let a = 0; a < outer; a++)
    for (let b = 0; b < inner; b++) {
      const from = (a * inner + b) * size;
      swapped.set(data.subarray(from, from + size), (b * outer + a) * size);
    }
  return swapped;
}

/** [Hk,M,D] to [H,M,D], for peers without grouped heads. */
export function repeatHeads(data: Float32Array<ArrayBuffer>, { heads, keyHeads }: NamedWork): Float32Array<ArrayBuffer> {
  if (heads === keyHeads) return data;
  const size = data.length / keyHeads;
  const repeated = new Float32Array(size * heads);
  for (let h = 0; h < heads; h++) {
    const from = Math.floor((h * keyHeads) / heads) * size;
    repeated.set(data.subarray(from, from + size), h * size);
  }
  return repeated;
}

/** Said of peers that got k and v through repeatHeads. */
export const repeatNote = ({ heads, keyHeads }: NamedWork): string => (heads === keyHeads ? '' : '; k and v repeated beforehand');

/** What is added to the scores where there is no flag for causal attention: 0 up to the diagonal, above it what becomes a weight of 0. */
export function causalBias({ queries, length }: NamedWork): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: queries * length }, (_, i) =>
    i % length <= Math.floor(i / length) + length - queries ? 0 : Math.fround(-1e30),
  );
}

/** A buffer that holds the data, on a peer's own device. */
export function bufferOf(device: GPUDevice, data: Float32Array<ArrayBuffer>): GPUBuffer {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffer = device.createBuffer({ size: data.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}
