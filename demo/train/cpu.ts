/** The CPU reference in a Worker, so that the page stays alive. */
import type { WordModelParameters } from '../../src/index.ts';
import { greatestDifference } from '../differences.ts';

export interface CpuRequest {
  readonly seed: number;
  readonly rates: readonly number[]; // the learning rate of each step
}

export type CpuMessage =
  | { readonly done: number }
  | { readonly parameters: WordModelParameters; readonly stepMs: number }
  | { readonly error: string };

/** Takes the steps; `signal` ends the worker. @param onStep hears how many are done, now and then */
export function trainOnCpu(
  request: CpuRequest,
  signal: AbortSignal,
  onStep: (done: number) => void,
): Promise<{ parameters: WordModelParameters; stepMs: number }> {
  const worker = new Worker(new URL('./cpu-worker.ts', import.meta.url), { type: 'module' });
  return new Promise<{ parameters: WordModelParameters; stepMs: number }>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error));
    worker.onmessage = ({ data }: MessageEvent<CpuMessage>) => {
      if ('done' in data) onStep(data.done);
      else if ('error' in data) reject(new Error(data.error));
      else resolve(data);
    };
    worker.onerror = (event) => reject(new Error(`The CPU worker failed: ${event.message}`));
    worker.postMessage(request);
  }).finally(() => worker.terminate());
}

/** The largest difference of two sets of parameters. */
export function largestDifference(a: WordModelParameters, b: WordModelParameters): number {
  const names = Object.keys(a) as (keyof WordModelParameters)[];
  return Math.max(...names.map((name) => greatestDifference(a[name].data, b[name].data).error));
}
