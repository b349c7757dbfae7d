/** One path on the GPU: compiled, checked, timed. */
import { type Attention, AttentionError, type AttentionOptions, type BackwardTensors, type GpuTensor } from '../../src/index.ts';
import { greatestDifference } from '../differences.ts';
import { callsOf } from './samples.ts';
import type { Pass } from './work.ts';

export interface GpuTimes {
  readonly kernels: string; // what ran
  readonly first: number; // milliseconds of the first call, compilation included where this run had not compiled the variant yet
  readonly times: readonly number[]; // milliseconds a call
  readonly calls: number; // a sample's
}

export type Wait = <T>(promise: Promise<T>) => Promise<T>;

/** A wrong answer is no time: the greatest error allowed, relative to the largest value. Far above rounding, far below a wrong index. */
const TOLERANCE = 1e-4;

/**
 * Times calls that are recorded into one pass, submitted and waited for together, so that a sample is the GPU's time.
 * @throws AttentionError 'limit' where the path does not fit the device; Error when the answer is wrong
 */
export async function timeGpu(
  attention: Attention,
  pass: Pass,
  [q, k, v, gradient]: readonly GpuTensor[],
  options: AttentionOptions,
  {
    repeats,
    wait,
    check,
    onSample,
  }: { repeats: number; wait: Wait; check: (answers: readonly ArrayLike<number>[]) => void; onSample: (done: number) => void },
): Promise<GpuTimes> {
  const { device } = attention;
  if (!q || !k || !v || (pass !== 'forward' && !gradient)) throw new Error(`timeGpu: ${pass} lacks an input`);
  const start = performance.now();
  const { mask, keyLengths, alibiSlopes, sinks, ...plain } = options;
  if (mask ?? keyLengths ?? alibiSlopes ?? sinks) throw new AttentionError('option', 'timeGpu: the benchmark has no such tensors');
  const plan = await wait(attention.plan({ q, k, v, ...plain, ...(pass !== 'forward' && { backward: true }) }));
  const out = attention.empty([...q.shape.slice(0, 3), v.shape[3]!]);
  const gradients = pass === 'forward' ? [] : [q, k, v].map(({ shape }) => attention.empty(shape));
  const lse = pass === 'forward' ? undefined : attention.empty(q.shape.slice(0, 3));
  const workspace = plan.workspaceBytes > 0 ? attention.empty([plan.workspaceBytes / 4]) : undefined;
  const tensors = { q, k, v, out, ...(lse && { lse }), ...(workspace && { workspace: workspace.buffer }) };
  const [dq, dk, dv] = gradients;
  const backwardTensors = { ...tensors, gradient, dq, dk, dv } as BackwardTensors;
  const run = async (calls: number, parts: Pass = pass) => {
    const encoder = device.createCommandEncoder();
    const recorded = encoder.beginComputePass();
    for (let i = 0; i < calls; i++) {
      if (parts !== 'backward') plan.encode(recorded, tensors);
      if (parts !== 'forward') plan.encodeBackward(recorded, backwardTensors);
    }
    recorded.end();
    device.queue.submit([encoder.finish()]);
    await wait(device.queue.onSubmittedWorkDone());
  };
  const sample = async (calls: number) => {
    const begin = performance.now();
    await run(calls);
    return (performance.now() - begin) / calls;
  };
  try {
    if (pass === 'backward') await run(1, 'forward'); // what the gradients are made from
    await run(1);
    const first = performance.now() - start;
    const answers = pass === 'forward' ? [out] : pass === 'backward' ? gradients : [out, ...gradients];
    check(await Promise.all(answers.map(async (answer) => (await wait(attention.download(answer))).data)));
    const calls = callsOf(await sample(1));
    const times: number[] = [];
    for (let i = 0; i < repeats; i++) {
      times.push(await sample(calls));
      onSample(i + 1);
    }
    return {
      kernels: plan.kernels
        .filter(({ name }) => pass !== 'backward' || name.startsWith('flash_backward_'))
        .map(({ name, variant }) => [name, ...describe(variant)].join(' '))
        .join(' + '),
      first,
      times,
      calls,
    };
  } finally {
    attention.release(out, ...gradients, ...[lse, workspace].filter((tensor) => tensor !== undefined));
    plan.destroy();
  }
}

/** What tells two variants of a kernel apart at a glance: its rows and splits. */
const describe = (variant: Readonly<Record<string, unknown>>): string[] =>
  ['TILE_N', 'ROWS', 'SPLITS'].filter((name) => name in variant).map((name) => `${name}=${variant[name]}`);

/** The greatest difference. @throws Error when it is no rounding */
export function greatestError(actual: ArrayLike<number>, expected: Float64Array): number {
  const { error, largest } = greatestDifference(actual, expected);
  if (!(error <= TOLERANCE * largest))
    throw new Error(`The GPU’s answer is wrong: it is off by ${error}, and values reach ${largest}. It was not timed.`);
  return error;
}
