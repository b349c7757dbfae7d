/** The CPU path in a Worker, so that the page stays alive. */

import type { Pass } from './work.ts';

export interface CpuRequest {
  readonly pass: Pass;
  readonly shapes: readonly (readonly number[])[]; // of q [1,H,N,D], k and v [1,Hk,M,D]; unless forward of the gradient of out too
  readonly isCausal: boolean;
  readonly causalOffset: number;
  readonly repeats: number;
  readonly budget: number; // milliseconds of repeating, after the first run
}

export interface CpuResult {
  readonly inputs: readonly Float32Array<ArrayBuffer>[]; // of the shapes
  readonly answers: readonly Float64Array<ArrayBuffer>[]; // forward: out; backward: dq, dk, dv; both: all four
  readonly times: readonly number[]; // milliseconds a call
  readonly calls: number; // a sample's
}

export type CpuMessage = { readonly done: number } | { readonly result: CpuResult } | { readonly error: string };

export class CpuWorker {
  private readonly worker = new Worker(new URL('./cpu-worker.ts', import.meta.url), { type: 'module' });

  /** Runs the reference on random inputs; `onRun` hears after each of the runs. One request at a time. */
  run(request: CpuRequest, onRun: (done: number) => void): Promise<CpuResult> {
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }: MessageEvent<CpuMessage>) => {
        if ('done' in data) onRun(data.done);
        else if ('result' in data) resolve(data.result);
        else reject(new Error(data.error));
      };
      this.worker.onerror = (event) => reject(new Error(`The CPU worker failed: ${event.message}`));
      this.worker.postMessage(request);
    });
  }

  /** Ends the worker, whatever it is doing. */
  end(): void {
    this.worker.terminate();
  }
}
