/** Measures the variants that fit a problem on the device at hand. Loaded when somebody tunes. */
import type { BufferPool } from './buffers.ts';
import { destroyQuietly, hasten } from './device.ts';
import { AttentionError } from './errors.ts';
import type { Variant } from './kernels/kernel.ts';
import { type AttentionTensors, Plan, type PlanContext } from './plan.ts';
import { hasOrderedQuads } from './probe.ts';
import type { Problem } from './problem.ts';
import { byteLength, type GpuTensor, type Layout, rowMajor } from './tensor.ts';
import { deviceFacts } from './tiles.ts';
import { candidates } from './tiles-fused.ts';
import type { TunedVariant } from './tuning.ts';

/** A candidate that does not fit the device is none. */
const TOO_LARGE = ['limit', 'out-of-memory'];

/** A sample lasts this long at least: by the GPU's own clock, or until a browser says that the queue is done. */
const SAMPLE_MS = { gpu: 10, queue: 20 };
const MOST_CALLS = 4096; // of a sample
const ROUNDS = 5;
const HOPELESS = 3; // times the fastest: measured no further after the first round

/** Compiles and times every candidate, round by round, so that a disturbance hits all alike. */
export async function measure(context: PlanContext, problem: Problem): Promise<TunedVariant> {
  const { device } = context.lifeline;
  const found = candidates(problem, deviceFacts(device, await hasOrderedQuads(device)));
  const buffers: GPUBuffer[] = [];
  const runs: Run[] = [];
  try {
    const inputs = makeTensors(context, problem, buffers);
    let refusal = new AttentionError('limit', 'tune: this problem does not fit the device');
    for (const candidate of found) {
      try {
        runs.push(await start(context, problem, candidate, inputs, buffers));
      } catch (error) {
        if (!(error instanceof AttentionError && TOO_LARGE.includes(error.code))) throw error;
        refusal = error;
      }
    }
    if (runs.length === 0) throw refusal;
    for (let round = 0; round < ROUNDS; round++) {
      const best = Math.min(...runs.map(median));
      for (const run of runs) if (round === 0 || median(run) < HOPELESS * best) run.times.push(await sample(context, run));
    }
    const [fastest] = [...runs].sort((a, b) => median(a) - median(b)) as [Run];
    return { algorithm: fastest.algorithm, variant: fastest.variant, milliseconds: median(fastest) };
  } finally {
    for (const { plan } of runs) plan.destroy();
    for (const buffer of buffers) context.pool.recycle(buffer);
  }
}

interface Candidate {
  readonly algorithm: 'explicit' | 'fused';
  readonly variant: Variant;
}

interface Run extends Candidate {
  readonly plan: Plan;
  readonly times: number[]; // milliseconds a call
  readonly tensors: AttentionTensors;
  calls: number; // a sample's
}

/** A candidate compiled, and run as often as it takes to know how many calls make a sample. */
async function start(
  context: PlanContext,
  problem: Problem,
  candidate: Candidate,
  inputs: AttentionTensors,
  buffers: GPUBuffer[],
): Promise<Run> {
  const plan = await Plan.create('tune', context, { ...problem, ...candidate, forcedBy: 'tuning' });
  try {
    const tensors = { ...inputs };
    if (plan.workspaceBytes > 0) {
      tensors.workspace = context.pool.allocate('tune: workspace', plan.workspaceBytes, GPUBufferUsage.STORAGE);
      buffers.push(tensors.workspace);
    }
    const run: Run = { ...candidate, plan, calls: 1, times: [], tensors };
    await sample(context, run); // the first call is no measure
    const least = context.lifeline.device.features.has('timestamp-query') ? SAMPLE_MS.gpu : SAMPLE_MS.queue;
    for (;;) {
      const lasted = run.calls * (await sample(context, run));
      if (lasted >= least || run.calls >= MOST_CALLS) return run;
      run.calls = Math.min(MOST_CALLS, Math.ceil(run.calls * Math.max(1.5, Math.min(8, least / lasted))));
    }
  } catch (error) {
    plan.destroy();
    throw error;
  }
}

const median = ({ times }: Run): number => [...times].sort((a, b) => a - b)[times.length >> 1] ?? Number.POSITIVE_INFINITY;

/** Milliseconds a call: by the GPU's own clock where it has one and it ticks finely enough, else until the queue is done. */
async function sample({ lifeline, pool }: PlanContext, { plan, tensors, calls }: Run): Promise<number> {
  const { device } = lifeline;
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
    const own = clock && (await clock.milliseconds());
    return (own !== undefined && own > 1 && own < elapsed ? own : elapsed) / calls; // browsers round stamps to 0.1 ms
  } finally {
    clock?.destroy();
  }
}

/** The GPU's own time of one pass. */
class Clock {
  readonly writes: GPUComputePassTimestampWrites;
  private readonly querySet: GPUQuerySet;
  private readonly resolved: GPUBuffer;
  private readonly stamps: GpuTensor; // the low and the high half of the begin, and of the end, in nanoseconds

  constructor(private readonly pool: BufferPool) {
    const { device } = pool;
    this.stamps = pool.kept('tune', [4], 'u32');
    this.querySet = device.createQuerySet({ label: 'tune', type: 'timestamp', count: 2 });
    this.resolved = device.createBuffer({ label: 'tune', size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
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

/** Tensors of the problem's layouts: zeros, masks of ones, every key there. */
function makeTensors({ pool }: PlanContext, problem: Problem, buffers: GPUBuffer[]): AttentionTensors {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
  const make = (name: string, layout: Layout, value = 0): GpuTensor => {
    const bytes = layout.offset + layout.bytes;
    const buffer = pool.allocate(`tune: ${name}`, bytes, usage);
    buffers.push(buffer);
    pool.write(buffer, 0, new Uint32Array(Math.ceil(bytes / 4)).fill(value).buffer);
    return { buffer, shape: layout.shape, dtype: layout.dtype, offset: layout.offset, strides: layout.strides };
  };
  const { B, H, N, M, q, k, v, out, mask, keyLengths, alibiSlopes, sinks, returnLse, returnScores } = problem;
  const dense = (shape: number[]): Layout => ({
    shape,
    dtype: 'f32',
    offset: 0,
    strides: rowMajor(shape),
    bytes: byteLength(shape, 'f32'),
  });
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
