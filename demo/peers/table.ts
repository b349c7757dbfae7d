/** The contest as text. */
import type { Row, summarize } from './contest.ts';

const HEAD = [
  ...['contestant', 'version', 'median ms', 'fastest', 'slowest', 'samples'],
  ...['GFLOP/s', 'greatest error', 'times as fast', 'first call', 'how'],
];
const MESSAGE = 200; // characters: the JSON has all of it
const TEXTS = new Set(['contestant', 'version', 'how']);

export function table(rows: readonly Row[]): string {
  const lines = [HEAD, ...rows.map(cells)];
  const widths = HEAD.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  const pad = (cell: string, i: number) => (TEXTS.has(HEAD[i]!) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!));
  return lines.map((line) => line.map(pad).join('  ').trimEnd()).join('\n');
}

function cells({ contestant, version, status, message, error, first, times, median, gflops, timesAsFast, how }: Row): string[] {
  const name = [contestant, version];
  const start = first === undefined ? '' : time(first);
  const deviation = error === undefined ? '' : error.toExponential(1);
  if (median === undefined) {
    const why = message && `failed: ${message.replaceAll('\n', ' ').slice(0, MESSAGE)}`;
    const none = ['', '', '', ''];
    return [...name, status, ...none, deviation, '', start, [why, how].filter(Boolean).join('; ')];
  }
  const figures = [time(median), time(Math.min(...times)), time(Math.max(...times)), `${times.length}`, gflops!.toFixed(2)];
  return [...name, ...figures, deviation, timesAsFast?.toFixed(2) ?? '', start, how];
}

const time = (milliseconds: number) => milliseconds.toFixed(milliseconds < 10 ? 3 : 1);

/** How much of the adapter's multiply-adds our rows reach. @param peak in GFLOP/s */
export const sharesOf = (rows: readonly Row[], peak: number): string =>
  rows
    .filter(({ isOurs, gflops }) => isOurs && gflops !== undefined)
    .map(({ contestant, gflops }) => `${contestant}: ${((100 * gflops!) / peak).toFixed(0)}% of this adapter's ${peak.toFixed(1)} GFLOP/s`)
    .join('\n');

/** One line for each set and contestant of ours. */
export const summaryLines = (summary: ReturnType<typeof summarize>): string[] =>
  Object.entries(summary).flatMap(([set, contestants]) =>
    Object.entries(contestants).map(
      ([name, { lengths, geometricMean }]) =>
        `${set}, ${lengths.join(', ')} keys: ${name} is ${geometricMean.toFixed(2)} times as fast as the fastest right WebGPU peer (geometric mean)`,
    ),
  );
