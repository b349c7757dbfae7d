/** How long a page's main thread was busy at a time, from Chrome's trace. */
import type { Page } from 'puppeteer';

/** One task. Processor time has nothing of what other processes take from it. */
export interface TaskTime {
  readonly processorMs: number;
  readonly wallMs: number;
}

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly tdur?: number; // microseconds, of processor time
  readonly dur?: number;
  readonly args: { readonly name?: string };
}

/** Records what the threads of a page's browser do, until `taskTimes` asks. */
export const recordTasks = (page: Page): Promise<void> => page.tracing.start({ categories: ['toplevel'] });

/** The tasks on the page's main thread since `recordTasks`. */
export async function taskTimes(page: Page): Promise<TaskTime[]> {
  const { traceEvents } = JSON.parse(new TextDecoder().decode(await page.tracing.stop())) as { traceEvents: TraceEvent[] };
  const isMain = ({ name, args }: TraceEvent) => name === 'thread_name' && args.name === 'CrRendererMain';
  const main = new Set(traceEvents.filter(isMain).map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = traceEvents.filter(({ name, pid, tid }) => name === 'ThreadControllerImpl::RunTask' && main.has(`${pid} ${tid}`));
  // One that the trace's end cuts has no duration: it is that of stopping the trace.
  return tasks.flatMap(({ tdur, dur }) =>
    dur === undefined || tdur === undefined ? [] : { processorMs: tdur / 1000, wallMs: dur / 1000 },
  );
}
