/** The benchmark itself: for the page and for `npm run bench` alike. */
import {
  type Attention,
  AttentionError,
  type AttentionOptions,
  type AttentionProblem,
  createAttention,
  type GpuTensor,
  type Tuning,
} from '../../src/index.ts';
import { describeAdapter } from '../engine.ts';
import { CpuWorker } from './cpu.ts';
import { greatestError, timeGpu, type Wait } from './gpu.ts';
import { measureRoofline, type Roofline } from './roofline.ts';
import { type BenchmarkOptions, bytesMoved, checkOptions, operations, type Pass, type Work, workOf } from './work.ts';

export type Path = 'CPU reference' | GpuPath;
type GpuPath = 'Explicit' | 'Fused' | 'Tuned';
/** On the GPU: 'Tuned' is the fastest variant that tune measures on the device. Gradients come from the fused kernels alone. */
const gpuPaths = (pass: Pass, { tune }: BenchmarkOptions): readonly GpuPath[] =>
  pass === 'forward' ? ['Explicit', 'Fused', ...(tune ? (['Tuned'] as const) : [])] : ['Fused'];
const pathsOf = (pass: Pass, options: BenchmarkOptions): readonly Path[] => ['CPU reference', ...gpuPaths(pass, options)];
export const countPaths = (options: BenchmarkOptions): number => options.passes.flatMap((pass) => pathsOf(pass, options)).length;

/** A path as people read it: with the pass, unless that is the usual one. */
export const nameOf = ({ path, pass }: { path: Path; pass: Pass }): string => (pass === 'forward' ? path : `${path}, ${pass}`);

/** One path at one length. Times in milliseconds. */
export interface Row extends Work {
  readonly path: Path;
  readonly kernels: string; // what ran on the GPU
  readonly runs: number; // samples, of which median, least and most are taken
  readonly calls: number; // a sample's calls, one after another: its time is their mean
  readonly first: number; // the first call, compilation included; 0 for the reference
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly gflops: number; // by the median
  readonly gbps: number; // by the median: inputs and outputs, each once a pass
  readonly bound: 'multiply-adds' | 'bytes' | ''; // which of the device's two peaks is the nearer limit
  readonly share: number; // of that peak, 0 to 1; 0 for the reference
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
  readonly roofline: Roofline;
  readonly rows: readonly Row[];
  readonly missing: readonly string[]; // what could not be measured, and why
  readonly tuning?: Tuning;
}

export interface Progress {
  readonly share: number; // 0 to 1, of the work
  readonly secondsLeft: number | undefined; // not known at first
  readonly text: string;
}

/** The CPU path repeats no longer than this for one length, in milliseconds, but runs once at least. */
const CPU_BUDGET = 4000;
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

/**
 * Measures every length on all paths, the shortest first. `onReport` hears what there is after each.
 * @throws AbortError when the signal is aborted, within a second; Error when an answer is wrong; AttentionError when the GPU fails
 */
export async function benchmark(
  options: BenchmarkOptions,
  { signal, onProgress, onReport }: { signal: AbortSignal; onProgress: (progress: Progress) => void; onReport: (partial: Report) => void },
): Promise<Report> {
  checkOptions(options);
  const attention = await abortable(createAttention(), signal);
  const end = endOf(signal, attention);
  const wait: Wait = (promise) => abortable(promise, end);
  const cpu = new CpuWorker();
  const device = describeDevice(attention.device);
  const rows: Row[] = [];
  const missing: string[] = [];
  const lengths = [...options.lengths].sort((a, b) => a - b);
  const progress = new ProgressOf(lengths, options, onProgress);
  try {
    progress.say('what the device can do at most');
    const roofline = await measureRoofline(attention.device, wait);
    let tuning: Tuning | undefined;
    const tuned = (found: Tuning) => {
      tuning = found;
    };
    const report = (): Report => ({
      ...{ date: new Date().toISOString(), options: { ...options, lengths }, device, roofline, rows, missing },
      ...(tuning && { tuning }),
    });
    for (const work of worksOf(lengths, options)) {
      await measureWork(work, { options, attention, cpu, wait, progress, roofline, rows, missing, tuned });
      onReport(report());
    }
    return report();
  } finally {
    cpu.end();
    attention.destroy();
  }
}

interface Run {
  readonly options: BenchmarkOptions;
  readonly attention: Attention;
  readonly cpu: CpuWorker;
  readonly wait: Wait;
  readonly progress: ProgressOf;
  readonly roofline: Roofline;
  readonly rows: Row[];
  readonly missing: string[];
  readonly tuned: (tuning: Tuning) => void;
}

const worksOf = (lengths: readonly number[], options: BenchmarkOptions): Work[] =>
  lengths.flatMap((length) => options.passes.map((pass) => workOf(length, pass, options)));

async function measureWork(work: Work, run: Run): Promise<void> {
  const { attention, cpu, wait, progress, rows, missing, options } = run;
  const { pass, length, queries, heads, keyHeads, headSize, isCausal } = work;
  const { repeats } = options;
  const [likeQuery, likeKey] = [
    [1, heads, queries, headSize],
    [1, keyHeads, length, headSize],
  ] as const;
  const shapes = [likeQuery, likeKey, likeKey, ...(pass === 'forward' ? [] : [likeQuery])];
  const attentionOptions: AttentionOptions = isCausal ? { isCausal, causalOffset: length - queries } : {};
  progress.report(work, 'CPU reference', 0);
  const request = { pass, shapes, isCausal, causalOffset: length - queries, repeats, budget: CPU_BUDGET };
  const reference = await wait(cpu.run(request, (done) => progress.report(work, 'CPU reference', done / repeats)));
  progress.finish(work, 'CPU reference');
  const unmeasured = { kernels: '', first: 0, bound: '', share: 0, error: 0 } as const;
  rows.push({ path: 'CPU reference', ...work, ...statistics(reference, work), ...unmeasured });

  const tensors = reference.inputs.map((data, i) => attention.upload(data, shapes[i]!));
  for (const path of gpuPaths(pass, options)) {
    progress.report(work, path, 0);
    let error = 0;
    const check = (answers: readonly ArrayLike<number>[]) => {
      error = Math.max(...reference.answers.map((expected, i) => greatestError(answers[i]!, expected)));
    };
    const onSample = (done: number) => progress.report(work, path, done / repeats);
    try {
      const [q, k, v] = tensors as [GpuTensor, GpuTensor, GpuTensor];
      if (path === 'Tuned') run.tuned(await wait(attention.tune({ q, k, v, ...attentionOptions } as AttentionProblem)));
      const algorithm = ({ Explicit: 'explicit', Fused: 'fused', Tuned: 'auto' } as const)[path];
      const gpu = await timeGpu(attention, pass, tensors, { ...attentionOptions, algorithm }, { repeats, wait, check, onSample });
      const figures = statistics(gpu, work);
      rows.push({
        path,
        ...work,
        ...figures,
        kernels: gpu.kernels,
        first: gpu.first,
        ...shareOf(work, figures.median, run.roofline),
        error,
      });
    } catch (failure) {
      if (!(failure instanceof AttentionError && (failure.code === 'limit' || failure.code === 'out-of-memory'))) throw failure;
      missing.push(`${nameOf({ path, pass })} at length ${length}: ${failure.message}`);
    }
    progress.finish(work, path);
  }
  attention.release(...tensors);
}

/** The nearer of the device's two peaks, and how much of it a call reaches. */
function shareOf(work: Work, milliseconds: number, { gflops, gbps }: Roofline): Pick<Row, 'bound' | 'share'> {
  const compute = operations(work) / gflops / 1e6; // milliseconds at the peak
  const memory = bytesMoved(work) / gbps / 1e6;
  return { bound: compute >= memory ? 'multiply-adds' : 'bytes', share: Math.max(compute, memory) / milliseconds };
}

function statistics({ times, calls }: { times: readonly number[]; calls: number }, work: Work) {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  const rates = { gflops: operations(work) / median / 1e6, gbps: bytesMoved(work) / median / 1e6 };
  return { runs: sorted.length, calls, median, least: sorted[0]!, most: sorted.at(-1)!, ...rates };
}

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
    options: BenchmarkOptions,
    private readonly listener: (progress: Progress) => void,
  ) {
    const costs = worksOf(lengths, options).flatMap((work) => pathsOf(work.pass, options).map((path) => this.cost(work, path)));
    this.total = costs.reduce((sum, cost) => sum + cost, 0);
  }

  say(text: string): void {
    this.listener({ share: this.done / this.total, secondsLeft: undefined, text });
  }

  /** @param part of this path at this length, 0 to 1 */
  report(work: Work, path: Path, part: number): void {
    const share = (this.done + Math.min(1, part) * this.cost(work, path)) / this.total;
    const seconds = (performance.now() - this.start) / 1000;
    const secondsLeft = share > 0.02 ? (seconds / share) * (1 - share) : undefined;
    this.listener({ share, secondsLeft, text: `${nameOf({ path, pass: work.pass })}, length ${work.length}` });
  }

  finish(work: Work, path: Path): void {
    this.report(work, path, 1);
    this.done += this.cost(work, path);
  }

  private cost(work: Work, path: Path): number {
    return (operations(work) + 1e6) / (path === 'CPU reference' ? 1 : GUESSED_SPEEDUP);
  }
}
