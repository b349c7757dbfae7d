/** The benchmark for `npm run bench`: without a page, its progress told to the command line. */
import { toSvg } from './formats.ts';
import { benchmark, type Progress, type Report } from './measure.ts';
import { timePlot } from './plot.ts';
import type { BenchmarkOptions } from './work.ts';

declare global {
  /** Given by the command line. */
  var report: (progress: Progress) => Promise<void>;
}

/** What was measured: all of it, or what there is before something failed. */
export async function runHeadless(options: BenchmarkOptions): Promise<{ report: Report; svg: string; failure: string | undefined }> {
  const { signal } = new AbortController();
  let report: Report | undefined;
  let failure: string | undefined;
  try {
    const onReport = (partial: Report) => {
      report = partial;
    };
    report = await benchmark(options, { signal, onProgress: (progress) => void globalThis.report(progress), onReport });
  } catch (error) {
    if (!report) throw error;
    failure = (error as Error).message;
  }
  return { report, svg: toSvg(timePlot(report.rows, { width: 800, isDark: false, ink: '#1b1d22' })), failure };
}
