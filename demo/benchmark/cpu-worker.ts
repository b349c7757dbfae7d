/** Runs inside the Worker: makes the inputs, and times the reference on them. */
import { backward, type HostTensor, scaledDotProductAttention } from '../../src/reference/index.ts';
import type { CpuMessage, CpuRequest } from './cpu.ts';
import { callsOf } from './samples.ts';
import type { Pass } from './work.ts';

const send = (message: CpuMessage, transfer: Transferable[] = []) => self.postMessage(message, { transfer });

self.onmessage = ({ data: { pass, shapes, isCausal, causalOffset, repeats, budget } }: MessageEvent<CpuRequest>) => {
  try {
    const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
    const inputs = shapes.map((shape, i) => noise(i + 1, count(shape)));
    const tensors = inputs.map((data, i) => ({ data, shape: shapes[i]! }));
    const call = callOf(pass, tensors, { isCausal, causalOffset });
    const run = () => {
      const start = performance.now();
      const answers = call().map(({ data }) => data as Float64Array<ArrayBuffer>);
      return { answers, time: performance.now() - start };
    };
    run(); // the code is compiled while it runs
    const { answers, time } = run();
    const calls = callsOf(time);
    const times: number[] = [];
    const end = performance.now() + budget;
    while (times.length < repeats && (times.length === 0 || performance.now() < end)) {
      const start = performance.now();
      for (let i = 0; i < calls; i++) run();
      times.push((performance.now() - start) / calls);
      send({ done: times.length });
    }
    send(
      { result: { inputs, answers, times, calls } },
      [...inputs, ...answers].map(({ buffer }) => buffer),
    );
  } catch (error) {
    send({ error: (error as Error).message });
  }
};

/** What is timed. */
function callOf(
  pass: Pass,
  [q, k, v, gradient]: readonly HostTensor[],
  options: { isCausal: boolean; causalOffset: number },
): () => HostTensor[] {
  const forward = () => scaledDotProductAttention(q!, k!, v!, { ...options, returnLse: pass !== 'forward' });
  if (pass === 'forward') return () => [forward().out];
  const after = ({ out, lse }: ReturnType<typeof forward>) => {
    const gradients = backward(gradient!, { q: q!, k: k!, v: v!, out, lse: lse! }, options);
    return [gradients.q, gradients.k, gradients.v];
  };
  if (pass === 'backward') {
    const before = forward();
    return () => after(before);
  }
  return () => {
    const before = forward();
    return [before.out, ...after(before)];
  };
}

/** Numbers in [−1, 1), the same in every run. The generator is Numerical Recipes' linear congruential one. */
function noise(seed: number, length: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
