/** Runs inside the Worker: makes the inputs, and times the reference on them. */
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import type { CpuMessage, CpuRequest } from './cpu.ts';

const send = (message: CpuMessage, transfer: Transferable[] = []) => self.postMessage(message, { transfer });

self.onmessage = ({ data: { shape, repeats, budget } }: MessageEvent<CpuRequest>) => {
  try {
    const length = shape.reduce((product, size) => product * size, 1);
    const inputs = [1, 2, 3].map((seed) => noise(seed, length));
    const [q, k, v] = inputs.map((data) => ({ data, shape })) as [Input, Input, Input];
    const run = () => {
      const start = performance.now();
      const out = scaledDotProductAttention(q, k, v).out.data as Float64Array<ArrayBuffer>;
      return { out, time: performance.now() - start };
    };
    const { out, time } = run(); // the answer; its time counts only where there is none for more, since the code was just compiled
    const times: number[] = [];
    const end = performance.now() + budget - time;
    while (times.length < repeats && performance.now() < end) {
      times.push(run().time);
      send({ done: times.length });
    }
    if (times.length === 0) times.push(time);
    send({ result: { inputs, out, times } }, [...inputs.map(({ buffer }) => buffer), out.buffer]);
  } catch (error) {
    send({ error: (error as Error).message });
  }
};

type Input = { data: Float32Array<ArrayBuffer>; shape: readonly number[] };

/** Numbers in [−1, 1), the same in every run. The generator is Numerical Recipes' linear congruential one. */
function noise(seed: number, length: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
