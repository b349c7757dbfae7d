/** The benchmark itself: for the page and for `npm run bench` alike. */
import { type Attention, AttentionError, createAttention, type GpuTensor } from '../../src/index.ts';
import { describeAdapter } from '../engine.ts';
import { CpuWorker } from './cpu.ts';
import { callsOf } from './samples.ts';

export interface BenchmarkOptions {
  readonly lengths: readonly number[];
  readonly heads: number;
  readonly headSize: number;
  readonly repeats: number;
}

export type Path = 'CPU reference' | 'WebGPU';

/** One path at one length. Times in milliseconds. */
export interface Row {
  readonly path: Path;
  readonly length: number;
  readonly heads: number;
  readonly headSize: number;
  readonly runs: number; // samples, of which median, least and most are taken
  readonly calls: number; // a sample's calls, one after another: its time is their mean
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly gflops: number; // by the median
  readonly error: number; // the greatest difference from the f64 reference; 0 for the reference itself
}

export interface Device {
  readonly adapter: string;
  readonly userAgent: string;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

export interface Report {
  readonly date: string; // ISO 8601
  readonly options: BenchmarkOptions;
  readonly device: Device;
  readonly rows: readonly Row[];
}

export interface Progress {
  readonly share: number; // 0 to 1, of the work
  readonly secondsLeft: number | undefined; // not known at first
  readonly text: string;
}

/** A wrong answer is no time: the greatest error allowed, relative to the largest value. Far above rounding, far below a wrong index. */
const TOLERANCE = 1e-4;
/** The CPU path repeats no longer than this for one length, in milliseconds, but runs once at least. */
const CPU_BUDGET = 4000;
const MOST_BYTES = 2 ** 31;
/** How much faster a GPU is guessed to be, for the progress bar alone. */
const GUESSED_SPEEDUP = 4;

export const LIMITS: readonly (keyof GPUSupportedLimits)[] = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupsPerDimension',
];

export function describeDevice(device: GPUDevice): Device {
  const limits = Object.fromEntries(LIMITS.map((name) => [name, device.limits[name] as number]));
  return { adapter: describeAdapter(device), userAgent: navigator.userAgent, features: [...device.features].sort(), limits };
}

/** @throws Error for what would not fit into memory: the reference holds two N×M matrices of f64 a head */
export function checkOptions({ lengths, heads }: BenchmarkOptions): void {
  const most = Math.max(...lengths);
  const bytes = 16 * heads * most * most;
  if (bytes > MOST_BYTES)
    throw new Error(
      `${heads} heads at length ${most} need ${(bytes / 2 ** 30).toFixed(1)} GB for the reference’s scores: at most ${MOST_BYTES / 2 ** 30} GB.`,
    );
}

/**
 * Measures every length on both paths, the shortest first. `onReport` hears what there is after each.
 * @throws AbortError when the signal is aborted, within a second; Error when an answer is wrong; AttentionError when the GPU fails
 */
export async function benchmark(
  options: BenchmarkOptions,
  { signal, onProgress, onReport }: { signal: AbortSignal; onProgress: (progress: Progress) => void; onReport: (partial: Report) => void },
): Promise<Report> {
  checkOptions(options);
  const attention = await abortable(createAttention(), signal);
  const end = endOf(signal, attention);
  const cpu = new CpuWorker();
  const device = describeDevice(attention.device);
  const rows: Row[] = [];
  const lengths = [...options.lengths].sort((a, b) => a - b);
  const progress = new ProgressOf(lengths, options, onProgress);
  try {
    const report = (): Report => ({ date: new Date().toISOString(), options: { ...options, lengths }, device, rows });
    for (const length of lengths) {
      rows.push(...(await measureLength(length, options, attention, cpu, end, progress)));
      onReport(report());
    }
    return report();
  } finally {
    cpu.end();
    attention.destroy();
  }
}

async function measureLength(
  length: number,
  options: BenchmarkOptions,
  attention: Attention,
  cpu: CpuWorker,
  signal: AbortSignal,
  progress: ProgressOf,
): Promise<Row[]> {
  const { heads, headSize, repeats } = options;
  const shape = [1, heads, length, headSize];
  const base = { length, heads, headSize };
  progress.report(length, 'CPU reference', 0);
  const reference = await abortable(
    cpu.run({ shape, repeats, budget: CPU_BUDGET }, (done) => progress.report(length, 'CPU reference', done / repeats)),
    signal,
  );
  progress.finish(length, 'CPU reference');
  const tensors = reference.inputs.map((data) => attention.upload(data, shape)) as [GpuTensor, GpuTensor, GpuTensor];
  const call = async () => (await attention.scaledDotProductAttention(...tensors)).out;
  const out = await abortable(call(), signal); // compiles, and is checked
  const error = greatestError((await abortable(attention.download(out), signal)).data, reference.out);
  attention.release(out);
  const gpu = await timeGpu(attention, call, repeats, signal, (done) => progress.report(length, 'WebGPU', done / repeats));
  attention.release(...tensors);
  progress.finish(length, 'WebGPU');
  return [
    { path: 'CPU reference', ...base, ...statistics(reference, base), error: 0 },
    { path: 'WebGPU', ...base, ...statistics(gpu, base), error },
  ];
}

/** Milliseconds a call, for each of the samples: from the call to the end of the GPU's work. */
async function timeGpu(
  attention: Attention,
  call: () => Promise<GpuTensor>,
  repeats: number,
  signal: AbortSignal,
  onSample: (done: number) => void,
) {
  const { queue } = attention.device;
  const sample = async (calls: number) => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) {
      attention.release(await abortable(call(), signal));
      await abortable(queue.onSubmittedWorkDone(), signal);
    }
    return (performance.now() - start) / calls;
  };
  const calls = callsOf(await sample(1));
  const times: number[] = [];
  for (let i = 0; i < repeats; i++) {
    times.push(await sample(calls));
    onSample(i + 1);
  }
  return { times, calls };
}

function greatestError(actual: ArrayLike<number>, expected: Float64Array): number {
  let error = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const own = Math.abs(actual[i]! - expected[i]!);
    if (!(own <= error)) error = own; // also when it is NaN
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  if (!(error <= TOLERANCE * largest))
    throw new Error(`The GPU’s answer is wrong: it is off by ${error}, and values reach ${largest}. It was not timed.`);
  return error;
}

function statistics(
  { times, calls }: { times: readonly number[]; calls: number },
  { length, heads, headSize }: { length: number; heads: number; headSize: number },
) {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  return {
    runs: sorted.length,
    calls,
    median,
    least: sorted[0]!,
    most: sorted.at(-1)!,
    gflops: operations(length, heads, headSize) / median / 1e6,
  };
}

/** Multiplications and additions of q·kᵀ and weights·v. */
export const operations = (length: number, heads: number, headSize: number): number => 4 * heads * length * length * headSize;

/** A signal that a lost device aborts too: waits on the device's queue might never end otherwise. */
function endOf(signal: AbortSignal, attention: Attention): AbortSignal {
  const controller = new AbortController();
  signal.addEventListener('abort', () => controller.abort(signal.reason), { once: true });
  void attention.lost.then(({ message }) => {
    controller.abort(new AttentionError('device-lost', `the device was lost: ${message || 'the browser gave no reason'}`));
  });
  return controller.signal;
}

/** The promise's outcome, or the signal's reason as soon as it is aborted. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Weighs the work by its operations, and learns from the time it took how much is left. */
class ProgressOf {
  private readonly start = performance.now();
  private readonly total: number;
  private done = 0;

  constructor(
    lengths: readonly number[],
    private readonly options: BenchmarkOptions,
    private readonly listener: (progress: Progress) => void,
  ) {
    this.total = lengths.reduce((sum, length) => sum + this.cost(length, 'CPU reference') + this.cost(length, 'WebGPU'), 0);
  }

  /** @param part of this path at this length, 0 to 1 */
  report(length: number, path: Path, part: number): void {
    const share = (this.done + Math.min(1, part) * this.cost(length, path)) / this.total;
    const seconds = (performance.now() - this.start) / 1000;
    const secondsLeft = share > 0.02 ? (seconds / share) * (1 - share) : undefined;
    this.listener({ share, secondsLeft, text: `${path}, length ${length}` });
  }

  finish(length: number, path: Path): void {
    this.report(length, path, 1);
    this.done += this.cost(length, path);
  }

  private cost(length: number, path: Path): number {
    const { heads, headSize } = this.options;
    return (operations(length, heads, headSize) + 1e6) / (path === 'CPU reference' ? 1 : GUESSED_SPEEDUP);
  }
}
