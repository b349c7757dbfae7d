/** Loops on the CPU beside matrix products on the GPU, timed here and now. */
import type { Attention } from '../../src/index.ts';
import { CpuWorker } from '../benchmark/cpu.ts';
import type { Engine } from '../engine.ts';
import { element, headRow, replace, scrolling } from '../ui/dom.ts';
import type { State } from './state.ts';

const RUNS = 5;
const LARGE = { rows: 384, width: 64 };
const CPU_BUDGET = 4000; // milliseconds of repeating

/** From numbers in the computer's memory to numbers there again: upload, attention, download. */
async function onGpu(attention: Attention, x: { data: Float32Array; shape: readonly number[] }): Promise<void> {
  const tensor = attention.upload(x.data, x.shape);
  const { out } = await attention.scaledDotProductAttention(tensor, tensor, tensor, { scale: 1 });
  await attention.download(out);
  attention.release(tensor, out);
}

/** The reference's loops, in a worker so that the page stays alive. Milliseconds of the best of a few runs. */
async function onCpu(cpu: CpuWorker, shape: readonly number[]): Promise<number> {
  const request = {
    pass: 'forward',
    shapes: [shape, shape, shape],
    isCausal: false,
    causalOffset: 0,
    repeats: RUNS,
    budget: CPU_BUDGET,
  } as const;
  return Math.min(...(await cpu.run(request, () => {})).times);
}

/** Milliseconds of the best of a few runs, after one that is not counted. */
async function best(run: () => unknown): Promise<number> {
  await run();
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < RUNS; i++) {
    const start = performance.now();
    await run();
    least = Math.min(least, performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive in between
  }
  return least;
}

export async function showTimes({ words }: State, { attention }: Engine, isCurrent: () => boolean): Promise<void> {
  replace('times-note', 'Measuring …');
  const small = { data: Float32Array.from(words.flatMap(({ vector }) => vector)), shape: [1, 1, words.length, 3] };
  const large = {
    data: Float32Array.from({ length: LARGE.rows * LARGE.width }, (_, i) => Math.sin(i * 7.1)),
    shape: [1, 1, LARGE.rows, LARGE.width],
  };
  const rows: HTMLElement[] = [];
  const times: { cpu: number; gpu: number | undefined }[] = [];
  const cpuWorker = new CpuWorker();
  try {
    for (const [label, inputs] of [
      [`this sentence: ${words.length} words of 3 numbers`, small],
      [`${LARGE.rows} words of ${LARGE.width} numbers`, large],
    ] as const) {
      const cpu = await onCpu(cpuWorker, inputs.shape);
      const gpu = attention && (await best(() => onGpu(attention, inputs)));
      times.push({ cpu, gpu });
      rows.push(element('tr', {}, element('th', { scope: 'row' }, label), milliseconds(cpu), milliseconds(gpu)));
    }
  } finally {
    cpuWorker.end();
  }
  if (!isCurrent()) return;
  const head = headRow('work', 'loops, CPU', `matrix products, ${attention ? 'GPU' : 'no GPU here'}`);
  replace(
    'times',
    scrolling(
      element(
        'table',
        {},
        element('caption', {}, `Best of ${RUNS} runs, results fetched back included`),
        head,
        element('tbody', {}, ...rows),
      ),
      'Times',
    ),
  );
  replace('times-note', why(times[0]!, times[1]!));
}

const milliseconds = (time: number | undefined) =>
  element('td', { class: 'number' }, time === undefined ? '—' : time < 0.1 ? 'below 0.1 ms' : `${time.toPrecision(3)} ms`);

function why(small: { cpu: number; gpu: number | undefined }, large: { cpu: number; gpu: number | undefined }): string {
  if (small.gpu === undefined || large.gpu === undefined) return 'There is no GPU to compare with.';
  const first =
    small.cpu <= small.gpu
      ? 'For one sentence the loops win: sending work to a GPU and fetching the result costs more than the work itself.'
      : 'Even for one sentence the GPU wins.';
  const ratio = large.cpu / large.gpu;
  const second =
    ratio >= 1.05
      ? `For ${LARGE.rows} words the matrix products are ${ratio.toFixed(1)} times as fast.`
      : `For ${LARGE.rows} words the device of this browser is not faster than the loops.`;
  return `${first} ${second}`;
}
