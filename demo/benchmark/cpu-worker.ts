/** Runs inside the Worker: makes the inputs, and times the reference on them. */
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import type { CpuMessage, CpuRequest } from './cpu.ts';
import { callsOf } from './samples.ts';

const send = (message: CpuMessage, transfer: Transferable[] = []) => self.postMessage(message, { transfer });

self.onmessage = ({ data: { shapes, isCausal, causalOffset, repeats, budget } }: MessageEvent<CpuRequest>) => {
  try {
    const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
    const inputs = shapes.map((shape, i) => noise(i + 1, count(shape)));
    const [q, k, v] = inputs.map((data, i) => ({ data, shape: shapes[i]! })) as [Input, Input, Input];
    const run = () => {
      const start = performance.now();
      const out = scaledDotProductAttention(q, k, v, { isCausal, causalOffset }).out.data as Float64Array<ArrayBuffer>;
      return { out, time: performance.now() - start };
    };
    run(); // the code is compiled while it runs
    const { out, time } = run(); // the answer
    const calls = callsOf(time);
    const times: number[] = [];
    const end = performance.now() + budget;
    while (times.length < repeats && (times.length === 0 || performance.now() < end)) {
      const start = performance.now();
      for (let i = 0; i < calls; i++) run();
      times.push((performance.now() - start) / calls);
      send({ done: times.length });
    }
    send({ result: { inputs, out, times, calls } }, [...inputs.map(({ buffer }) => buffer), out.buffer]);
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
