/** How long calls take, by the GPU's own clock where it has one. */
import { isTiny } from './say.ts';

export interface Time {
  readonly ms: number; // a call, the median
  readonly least: number;
  readonly most: number;
  readonly wall: number; // until the queue was done, a call
  readonly calls: number; // of a sample
  readonly samples: number;
  readonly first: number; // the first call until it was done, without compilation
}

/** Records one call, of a number, into a pass. */
export type RecordCall = (pass: GPUComputePassEncoder, call: number) => void;

interface Patience {
  readonly target?: number; // milliseconds that a sample lasts at least
  readonly samples?: number;
  readonly budget?: number; // milliseconds after which no sample begins
}

interface Stamps {
  readonly set: GPUQuerySet;
  readonly resolved: GPUBuffer;
  readonly read: GPUBuffer;
}

const MOST_CALLS = 4096;
const DEFAULTS = isTiny ? { target: 2, samples: 2, budget: 300 } : { target: 20, samples: 5, budget: 600 };

export class Clock {
  private readonly stamps: Stamps | undefined;

  constructor(private readonly device: GPUDevice) {
    if (!device.features.has('timestamp-query')) return;
    this.stamps = {
      set: device.createQuerySet({ type: 'timestamp', count: 2 }),
      resolved: device.createBuffer({ size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC }),
      read: device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
    };
  }

  get name(): string {
    return this.stamps ? 'timestamp-query' : 'until the queue is done';
  }

  /** Milliseconds of that many calls in one pass. */
  async once(record: RecordCall, calls: number): Promise<{ gpu: number; wall: number }> {
    const commands = this.encode(record, calls);
    const start = performance.now();
    this.device.queue.submit([commands]);
    await this.device.queue.onSubmittedWorkDone();
    const wall = performance.now() - start;
    const gpu = this.stamps ? await readStamps(this.stamps) : wall;
    const isSensible = gpu > 0 && gpu < 1.2 * wall + 1; // some software devices stamp nonsense
    return { gpu: isSensible ? gpu : wall, wall };
  }

  private encode(record: RecordCall, calls: number): GPUCommandBuffer {
    const { device, stamps } = this;
    const encoder = device.createCommandEncoder();
    const writes = stamps && { querySet: stamps.set, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    const pass = encoder.beginComputePass(writes && { timestampWrites: writes });
    for (let call = 0; call < calls; call++) record(pass, call);
    pass.end();
    if (stamps) {
      encoder.resolveQuerySet(stamps.set, 0, 2, stamps.resolved, 0);
      encoder.copyBufferToBuffer(stamps.resolved, 0, stamps.read, 0, 16);
    }
    return encoder.finish();
  }

  /** The first call by itself, then as many calls a sample as it takes to last long enough. */
  async measure(record: RecordCall, patience: Patience = {}): Promise<Time> {
    const { target, samples, budget } = { ...DEFAULTS, ...patience };
    const end = performance.now() + budget;
    const first = (await this.once(record, 1)).wall;
    let calls = 1;
    let last = await this.once(record, 1);
    while (last.gpu < 0.6 * target && calls < MOST_CALLS) {
      const factor = Math.min(16, Math.max(2, target / Math.max(last.gpu, 1e-3)));
      calls = Math.min(MOST_CALLS, Math.ceil(calls * factor));
      last = await this.once(record, calls);
    }
    const all = [last];
    while (all.length < samples && performance.now() < end) all.push(await this.once(record, calls));
    const sorted = (which: 'gpu' | 'wall') => all.map((sample) => sample[which] / calls).sort((a, b) => a - b);
    const [gpu, wall] = [sorted('gpu'), sorted('wall')];
    const middle = all.length >> 1;
    return { ms: gpu[middle]!, least: gpu[0]!, most: gpu.at(-1)!, wall: wall[middle]!, calls, samples: all.length, first };
  }
}

async function readStamps({ read }: Stamps): Promise<number> {
  await read.mapAsync(GPUMapMode.READ);
  const [begin, end] = new BigUint64Array(read.getMappedRange().slice(0));
  read.unmap();
  return Number(end! - begin!) / 1e6;
}
