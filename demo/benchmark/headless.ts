/** The benchmark for `npm run bench`: without a page, its progress told to the command line. */
import { toSvg } from './formats.ts';
import { type BenchmarkOptions, benchmark, type Progress, type Report } from './measure.ts';
import { timePlot } from './plot.ts';

declare global {
  /** Given by the command line. */
  var report: (progress: Progress) => Promise<void>;
}

export async function runHeadless(options: BenchmarkOptions): Promise<{ report: Report; svg: string }> {
  const { signal } = new AbortController();
  const report = await benchmark(options, { signal, onProgress: (progress) => void globalThis.report(progress), onRow: () => {} });
  return { report, svg: toSvg(timePlot(report.rows, { width: 800, isDark: false, ink: '#1b1d22' })) };
}
