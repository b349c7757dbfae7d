/** Measures the variants that fit a problem on this device. Loaded with the first call of `tune`. */
import type { AttentionTensors, TunedVariant } from '../contract/api.ts';
import { AttentionError, quote } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { dense, type GpuTensor, type Layout } from '../contract/tensor.ts';
import type { BufferPool } from '../gpu/buffers.ts';
import { destroyQuietly, hasten } from '../gpu/device.ts';
import { USAGE } from '../gpu/native.ts';
import type { Session } from '../gpu/session.ts';
import type { KernelVariants } from '../kernels/variants.ts';
import { type Candidate, candidates } from '../tiles/candidates.ts';
import { deviceFacts } from '../tiles/facts.ts';
import { Plan } from './plan.ts';

/** Errors of a candidate that does not fit the device, or that the driver does not compile. The candidate is then skipped. */
const REFUSED = ['limit', 'out-of-memory', 'compile'];

/** The least duration of a sample, in milliseconds: by the GPU's timestamps, or else until the browser reports that the queue is done. */
const SAMPLE_MS = { gpu: 10, queue: 20 };
const MOST_CALLS = 4096; // calls a sample
const ROUNDS = 5;
/**
 * Limits as multiples of the fastest candidate's time. Above `first`, a candidate is not measured after its first run. Above `kernel`, a kernel's other
 * shapes are not tried. Above `round`, a candidate is left out of a round.
 */
const FAR_BEHIND = { first: 3, kernel: 2, round: 1.5 };
/** Progress, as a fraction of the whole, after the first two of the three parts of the measurement. */
const SHARES = { kernels: 0.3, shapes: 0.7 };

/**
 * Compiles candidates in parallel, and times them one at a time, in three parts:
 *   1. One candidate of each kernel.
 *   2. Other shapes of the kernels that are not far behind.
 *   3. ROUNDS rounds of one sample each of the candidates that are not far behind. Rounds spread a disturbance over all candidates.
 * @param onProgress takes the fraction that is done, which never falls
 * @returns the candidate with the least median; but the library's default choice unless that median is below every sample of the default
 * @throws AttentionError 'shape' where there is nothing to measure, 'option' where the caller chose
 */
export async function measure(
  session: Session,
  problem: Problem,
  onProgress: (fraction: number) => void,
): Promise<TunedVariant<KernelVariants>> {
  const { device } = session;
  const { algorithm, variant, B, H, N, M } = problem;
  if (B * H * N * M === 0)
    throw new AttentionError('shape', `tune: B is ${B}, H ${H}, N ${N} and M ${M}: need one query and one key to measure`);
  if (algorithm !== 'auto' || Object.keys(variant).length > 0)
    throw new AttentionError('option', `tune: algorithm is ${quote(algorithm)}, variant ${quote(variant)}: tune finds both`);
  const kernels = candidates(problem, await deviceFacts(device));
  const bench: Bench = { session, problem, buffers: [], runs: [], refusal: undefined };
  const { buffers, runs } = bench;
  const part = (from: number, to: number) => (share: number) => onProgress(from + (to - from) * share);
  try {
    const inputs = makeTensors(session, problem, buffers);
    const choices = kernels.map(([first]) => first);
    const near = nearOf(await start(bench, inputs, choices, part(0, SHARES.kernels)), FAR_BEHIND.kernel).map(({ candidate }) => candidate);
    const others = kernels.flatMap(([first, ...rest]) => (near.includes(first) ? rest : []));
    await start(bench, inputs, others, part(SHARES.kernels, SHARES.shapes));
    const ready = runs.filter(({ times }) => times.length > 0);
    if (ready.length === 0) throw bench.refusal ?? new AttentionError('limit', 'tune: this problem does not fit the device');
    const byDefault = ready.find(({ candidate }) => candidate === choices[0]);
    await compare(session, ready, byDefault, part(SHARES.shapes, 1));
    const fastest = ready.reduce((best, run) => (median(run) < median(best) ? run : best));
    const winner = byDefault && median(fastest) >= Math.min(...byDefault.times) ? byDefault : fastest;
    return { ...winner.candidate, milliseconds: median(winner) };
  } finally {
    for (const { plan } of runs) plan.destroy();
    for (const buffer of buffers) session.pool.recycle(buffer);
  }
}

interface Bench {
  readonly session: Session;
  readonly problem: Problem;
  readonly buffers: GPUBuffer[];
  readonly runs: Run[];
  refusal: AttentionError | undefined; // the error of the last candidate that does not fit
}

interface Run {
  readonly candidate: Candidate;
  readonly plan: Plan;
  tensors: AttentionTensors;
  first: number; // milliseconds of the first timed call
  times: number[]; // samples, in milliseconds a call; empty where the candidate was far behind
  calls: number; // calls a sample
}

/** Compiles candidates in parallel, and calibrates one after the other. @returns the candidates whose first run was not far behind */
async function start(
  bench: Bench,
  inputs: AttentionTensors,
  list: readonly Candidate[],
  onProgress: (share: number) => void,
): Promise<Run[]> {
  const { session, problem, runs } = bench;
  let done = 0;
  const step = () => onProgress(++done / (2 * list.length)); // each candidate is compiled and calibrated
  const compiled = await Promise.allSettled(
    list.map(async (candidate) => {
      const plan = await Plan.create('tune', session, { ...problem, ...candidate, forcedBy: 'tuning' });
      const run = { candidate, plan, tensors: { ...inputs }, first: Number.POSITIVE_INFINITY, times: [], calls: 1 };
      runs.push(run);
      step();
      return run;
    }),
  );
  const started: Run[] = [];
  for (const outcome of compiled) {
    try {
      if (outcome.status === 'rejected') throw outcome.reason;
      await calibrate(bench, outcome.value);
      started.push(outcome.value);
    } catch (error) {
      if (!(error instanceof AttentionError && REFUSED.includes(error.code))) throw error;
      bench.refusal = error;
    }
    step();
  }
  return started.filter(({ times }) => times.length > 0);
}

/** Times one call. Unless the candidate is far behind, goes on with more calls until a sample is long enough. */
async function calibrate({ session, buffers, runs }: Bench, run: Run): Promise<void> {
  const { plan, tensors } = run;
  if (plan.workspaceBytes > 0) {
    const workspace = session.pool.allocate('tune: workspace', plan.workspaceBytes, USAGE.STORAGE);
    buffers.push(workspace);
    run.tensors = { ...tensors, workspace };
  }
  await sample(session, run); // a warm-up, which does not count
  run.first = await sample(session, run);
  if (run.first > FAR_BEHIND.first * Math.min(...runs.map(({ first }) => first))) return;
  const least = session.device.features.has('timestamp-query') ? SAMPLE_MS.gpu : SAMPLE_MS.queue;
  for (let perCall = run.first; ; perCall = await sample(session, run)) {
    run.times = [perCall];
    const lasted = run.calls * perCall;
    if (lasted >= least || run.calls >= MOST_CALLS) return;
    run.calls = Math.min(MOST_CALLS, Math.ceil(run.calls * Math.max(1.5, Math.min(8, least / lasted))));
  }
}

/** Samples the candidates that are not far behind, and the library's default choice, round by round. */
async function compare(
  session: Session,
  runs: readonly Run[],
  byDefault: Run | undefined,
  onProgress: (share: number) => void,
): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const near = nearOf(runs, FAR_BEHIND.round);
    for (const run of new Set(byDefault ? [byDefault, ...near] : near)) run.times.push(await sample(session, run));
    onProgress((round + 1) / ROUNDS);
  }
}

const nearOf = (runs: readonly Run[], times: number): readonly Run[] => {
  const limit = times * Math.min(...runs.map(median));
  return runs.filter((run) => median(run) <= limit);
};

const median = ({ times }: Run): number => [...times].sort((a, b) => a - b)[times.length >> 1] ?? Number.POSITIVE_INFINITY;

/** Milliseconds a call. The GPU's timestamps are used where there are some and they are fine enough; else the time until the queue is done. */
async function sample({ device, lifeline, pool }: Session, { plan, tensors, calls }: Run): Promise<number> {
  const { workspace, ...rest } = tensors;
  const scratch = workspace && { buffer: workspace, shape: [plan.workspaceBytes / 4], dtype: 'f32' as const };
  const clock = device.features.has('timestamp-query') ? new Clock(pool) : undefined;
  try {
    const start = performance.now();
    await pool.submit('tune', [...(Object.values(rest) as GpuTensor[]), ...(scratch ? [scratch] : [])], (encoder) => {
      const pass = encoder.beginComputePass({ label: 'tune', ...(clock && { timestampWrites: clock.writes }) });
      for (let i = 0; i < calls; i++) plan.encode(pass, tensors);
      pass.end();
      clock?.resolve(encoder);
    });
    await lifeline.wait('tune', hasten(device, device.queue.onSubmittedWorkDone(), 1.1));
    const elapsed = performance.now() - start;
    const onGpu = clock && (await clock.milliseconds());
    return (onGpu !== undefined && onGpu > 1 && onGpu < elapsed ? onGpu : elapsed) / calls; // browsers round timestamps to 0.1 ms
  } finally {
    clock?.destroy();
  }
}

/** Times one pass by the GPU's timestamps. */
class Clock {
  readonly writes: GPUComputePassTimestampWrites;
  private readonly querySet: GPUQuerySet;
  private readonly resolved: GPUBuffer;
  private readonly stamps: GpuTensor; // two timestamps in nanoseconds, the pass's begin and end, each as its low and its high u32

  constructor(private readonly pool: BufferPool) {
    const { device } = pool;
    this.stamps = pool.kept('tune', [4], 'u32');
    this.querySet = device.createQuerySet({ label: 'tune', type: 'timestamp', count: 2 });
    this.resolved = device.createBuffer({ label: 'tune', size: 16, usage: USAGE.QUERY_RESOLVE | USAGE.COPY_SRC });
    this.writes = { querySet: this.querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
  }

  resolve(encoder: GPUCommandEncoder): void {
    encoder.resolveQuerySet(this.querySet, 0, 2, this.resolved, 0);
    encoder.copyBufferToBuffer(this.resolved, 0, this.stamps.buffer, 0, 16);
  }

  async milliseconds(): Promise<number> {
    const { data } = await this.pool.download(this.stamps);
    return ((data[3]! - data[1]!) * 2 ** 32 + data[2]! - data[0]!) / 1e6;
  }

  destroy(): void {
    for (const object of [this.querySet, this.resolved]) destroyQuietly(object);
    this.pool.recycle(this.stamps.buffer);
  }
}

/** Tensors of the problem's layouts: zeros, but boolean masks are ones and key lengths M, so that no key is excluded by them. */
function makeTensors({ pool }: Session, problem: Problem, buffers: GPUBuffer[]): AttentionTensors {
  const usage = USAGE.STORAGE | USAGE.COPY_DST;
  const make = (name: string, layout: Layout, value = 0): GpuTensor => {
    const bytes = layout.offset + layout.bytes;
    const buffer = pool.allocate(`tune: ${name}`, bytes, usage);
    buffers.push(buffer);
    pool.write(buffer, 0, new Uint32Array(Math.ceil(bytes / 4)).fill(value).buffer);
    return { buffer, shape: layout.shape, dtype: layout.dtype, offset: layout.offset, strides: layout.strides };
  };
  const { B, H, N, M, q, k, v, out, mask, keyLengths, alibiSlopes, sinks, returnLse, returnScores } = problem;
  return {
    ...{ q: make('q', q), k: make('k', k), v: make('v', v), out: make('out', out) },
    ...(returnLse && { lse: make('lse', dense([B, H, N])) }),
    ...(returnScores && { scores: make('scores', dense([B, H, N, M])) }),
    ...(mask && { mask: make('mask', mask, mask.dtype === 'bool' ? 0x01010101 : 0) }),
    ...(keyLengths && { keyLengths: make('keyLengths', keyLengths, M) }),
    ...(alibiSlopes && { alibiSlopes: make('alibiSlopes', alibiSlopes) }),
    ...(sinks && { sinks: make('sinks', sinks) }),
  };
}
