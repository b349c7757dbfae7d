/** The contest: every contestant is checked, then those on the GPU take turns, so that what disturbs the machine disturbs them alike; then the others. */
import { callsOf } from '../benchmark/samples.ts';
import { operations } from '../benchmark/work.ts';
import { greatestDifference } from '../differences.ts';
import type { Contestant } from './contestants.ts';
import type { Ready } from './stage.ts';
import { answersOf, answerTo, type NamedWork, rowsToCheck } from './works.ts';

/** A contestant's place, wherever it performs. */
export interface Seat {
  prepare(work: NamedWork, rows: readonly number[]): Promise<Ready>;
  sample(calls: number): Promise<number>; // milliseconds a call
  end(): Promise<void>;
}

export interface Row extends NamedWork {
  readonly contestant: string;
  readonly isOurs: boolean;
  readonly isGpu: boolean;
  readonly version: string;
  readonly how: string; // how attention is called; for ours the kernels
  readonly status: 'right' | 'wrong' | 'failed';
  readonly message?: string; // why it failed
  readonly error?: number; // the greatest difference from the f64 reference
  readonly first?: number; // milliseconds of the first call, compilation included
  readonly times: readonly number[]; // milliseconds a call
  readonly median?: number;
  readonly gflops?: number; // by the median
  readonly timesAsFast?: number; // as the fastest right WebGPU peer
}

export interface Options {
  readonly repeats: number;
  readonly limit: number; // milliseconds that a contestant may take to get ready, and for a sample
  readonly versions: Readonly<Record<string, string>>; // by package; ours under ''
  readonly open: (contestant: Contestant) => Promise<Seat>;
  readonly say: (text: string) => void;
}

interface Entry {
  readonly contestant: Contestant;
  seat?: Seat;
  ready?: Ready;
  error?: number;
  calls: number; // a sample's
  status: Row['status'];
  message?: string;
  readonly times: number[];
}

/** A wrong answer is no time: the greatest error allowed, relative to the largest value. Far above rounding, far below a wrong index. */
const TOLERANCE = 1e-4;
/** A contestant whose samples have taken this long together sits the other rounds out, but has two at least. */
const BUDGET_MS = 20_000;

export async function contest(work: NamedWork, contestants: readonly Contestant[], options: Options): Promise<Row[]> {
  const entries = contestants.map((contestant): Entry => ({ contestant, calls: 1, status: 'right', times: [] }));
  const rows = rowsToCheck(work);
  const expected = answerTo(work, rows);
  try {
    // A thread pool of WebAssembly goes on spinning when its turn is over, on the cores of whoever comes next: it has its turns last.
    for (const isGpu of [true, false]) {
      const group = entries.filter(({ contestant }) => contestant.isGpu === isGpu);
      for (const entry of group) await attempt(entry, options, () => enter(entry, work, rows, expected, options));
      for (let round = 0; group.length > 0 && round < options.repeats; round++) {
        options.say(`${describe(work)}: ${isGpu ? 'WebGPU' : 'no WebGPU'}, round ${round + 1} of ${options.repeats}`);
        for (const entry of group) {
          const spent = entry.times.reduce((sum, time) => sum + time * entry.calls, 0);
          if (entry.status !== 'right' || (round > 1 && spent > BUDGET_MS)) continue;
          await attempt(entry, options, async () => void entry.times.push(await entry.seat!.sample(entry.calls)));
        }
      }
    }
  } finally {
    for (const { seat } of entries) await seat?.end();
  }
  return toRows(work, entries, options);
}

export const describe = ({ set, pass, length, queries, heads, keyHeads, headSize, isCausal }: NamedWork): string =>
  `${set}: ${pass === 'both' ? 'forward and gradient, ' : ''}${queries} queries, ${length} keys, ${heads} heads${heads === keyHeads ? '' : ` on ${keyHeads}`} of size ${headSize}${isCausal ? ', causal' : ''}`;

/** Opens the seat, checks the answer, and warms up. */
async function enter(entry: Entry, work: NamedWork, rows: readonly number[], expected: ArrayLike<number>, options: Options): Promise<void> {
  options.say(`${describe(work)}: ${entry.contestant.name} gets ready`);
  entry.seat = await options.open(entry.contestant);
  entry.ready = await entry.seat.prepare(work, rows);
  const { error, isRight } = compare(entry.ready.answer, expected, answersOf(work));
  entry.error = error;
  if (isRight) {
    entry.calls = callsOf(await entry.seat.sample(1));
    return;
  }
  entry.status = 'wrong';
  await entry.seat.end();
}

/** What fails or takes too long leaves the contest, and the row says why. */
async function attempt(entry: Entry, { limit }: Options, run: () => Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`time limit of ${limit / 1000} s`)), limit);
  });
  try {
    await Promise.race([run(), late]);
  } catch (error) {
    entry.status = 'failed';
    entry.message = (error as Error).message;
    await entry.seat?.end();
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The greatest difference, NaN if there is a value that is no number.
 * @param parts tensors of one size, each of which has to be right by its own largest value
 */
export function compare(actual: Ready['answer'], expected: ArrayLike<number>, parts: number): { error: number; isRight: boolean } {
  if (actual.length !== expected.length) return { error: Number.NaN, isRight: false };
  const size = expected.length / parts;
  const partOf = (values: ArrayLike<number | null>, part: number) =>
    Array.from({ length: size }, (_, i) => values[part * size + i] ?? Number.NaN);
  const own = Array.from({ length: parts }, (_, part) => greatestDifference(partOf(actual, part), partOf(expected, part)));
  return { error: Math.max(...own.map(({ error }) => error)), isRight: own.every(({ error, largest }) => error <= TOLERANCE * largest) };
}

function toRows(work: NamedWork, entries: readonly Entry[], { versions }: Options): Row[] {
  const rows = entries.map(({ contestant, ready, error, status, message, times }): Row => {
    const median = status === 'right' ? medianOf(times) : undefined;
    return {
      ...work,
      contestant: contestant.name,
      isOurs: contestant.package === undefined,
      isGpu: contestant.isGpu,
      version: versions[contestant.package ?? ''] ?? '',
      how: ready?.how ?? '',
      status,
      times,
      ...(message !== undefined && { message }),
      ...(error !== undefined && { error }),
      ...(ready && { first: ready.first }),
      ...(median !== undefined && { median, gflops: operations(work) / median / 1e6 }),
    };
  });
  const peers = rows.filter(({ isOurs, isGpu, status }) => !isOurs && isGpu && status === 'right');
  if (peers.length === 0) return rows;
  const fastest = Math.min(...peers.map(({ median }) => median!));
  return rows.map((row) => (row.median === undefined ? row : { ...row, timesAsFast: fastest / row.median }));
}

function medianOf(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}

/** By set and by contestant of ours: how many times as fast as the fastest right WebGPU peer, the geometric mean over the lengths. */
export function summarize(rows: readonly Row[]) {
  const summary: Record<string, Record<string, { lengths: number[]; timesAsFast: number[]; geometricMean: number }>> = {};
  for (const { set, contestant, isOurs, length, timesAsFast } of rows) {
    if (!isOurs || timesAsFast === undefined) continue;
    summary[set] ??= {};
    summary[set][contestant] ??= { lengths: [], timesAsFast: [], geometricMean: 0 };
    const entry = summary[set][contestant];
    entry.lengths.push(length);
    entry.timesAsFast.push(timesAsFast);
    entry.geometricMean = Math.exp(entry.timesAsFast.reduce((sum, ratio) => sum + Math.log(ratio), 0) / entry.timesAsFast.length);
  }
  return summary;
}
