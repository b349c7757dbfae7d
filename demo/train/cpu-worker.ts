/** Runs inside the Worker: the reference takes the steps that the GPU took, from the same seed. */
import { WordModelReference } from '../../src/reference/index.ts';
import type { CpuMessage, CpuRequest } from './cpu.ts';
import { adamOptions, batches, modelOptions } from './model.ts';

const send = (message: CpuMessage) => self.postMessage(message);
const TOLD_MS = 200; // between two words of progress

self.onmessage = ({ data: { seed, rates } }: MessageEvent<CpuRequest>) => {
  try {
    const model = new WordModelReference(modelOptions(seed));
    const next = batches(seed);
    const start = performance.now();
    let told = start;
    for (const [step, rate] of rates.entries()) {
      const { tokens, targets } = next();
      model.train(tokens, targets, adamOptions(rate));
      if (performance.now() - told < TOLD_MS) continue;
      told = performance.now();
      send({ done: step + 1 });
    }
    send({ parameters: model.parameters(), stepMs: (performance.now() - start) / Math.max(1, rates.length) });
  } catch (error) {
    send({ error: (error as Error).message });
  }
};
