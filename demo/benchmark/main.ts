/** The benchmark page: its form, its progress, its results. */
import { byId, element, headRow, replace, scrolling } from '../ui/dom.ts';
import { display, HEADINGS, toCsv, toJson, toSvg } from './formats.ts';
import { type BenchmarkOptions, benchmark, type Device, type Progress, type Report, type Row } from './measure.ts';
import { timePlot } from './plot.ts';

const LENGTHS = [64, 128, 256, 512, 1024, 2048];
const CHOSEN = [64, 128, 256, 512];

let report: Report | undefined;
let cancel: AbortController | undefined;

function drawForm(): void {
  const boxes = LENGTHS.map((length) =>
    element(
      'label',
      {},
      element('input', { type: 'checkbox', name: 'length', value: length, checked: CHOSEN.includes(length) }),
      String(length),
    ),
  );
  replace('lengths', ...boxes);
}

function readForm(): BenchmarkOptions {
  const number = (id: string) => byId<HTMLInputElement>(id).valueAsNumber;
  const lengths = [...document.querySelectorAll<HTMLInputElement>('input[name="length"]:checked')].map(({ value }) => Number(value));
  if (lengths.length === 0) throw new Error('Choose at least one length.');
  return { lengths, heads: number('heads'), headSize: number('head-size'), repeats: number('repeats') };
}

async function run(): Promise<void> {
  const status = byId('status');
  const rows: Row[] = [];
  byId('problem').hidden = true;
  try {
    const options = readForm();
    cancel = new AbortController();
    setRunning(true);
    status.textContent = '';
    report = undefined;
    byId('results').hidden = true;
    const onRow = (row: Row, device: Device) => {
      rows.push(row);
      report = { date: new Date().toISOString(), options, device, rows };
      show();
    };
    report = await benchmark(options, { signal: cancel.signal, onProgress: showProgress, onRow });
    show();
    status.textContent = `Done: ${rows.length / 2} lengths on both paths, every answer checked.`;
  } catch (error) {
    fail(error as Error);
  } finally {
    setRunning(false);
  }
}

function fail(error: Error): void {
  if (error.name === 'AbortError') {
    byId('status').textContent = report ? 'Cancelled. What was measured until then is below.' : 'Cancelled.';
    return;
  }
  const code = (error as { code?: unknown }).code;
  if (code !== 'no-webgpu' && code !== 'device-lost') {
    byId('status').textContent = error.message;
    return;
  }
  const missing =
    'This browser offers no WebGPU, so there is nothing to measure against the CPU. Chrome and Edge have it from version 113, Safari from 26, Firefox from 141 on Windows and 145 on macOS with Apple chips.';
  const failed = `The GPU cannot be used. ${error.message}`;
  replace('problem-text', code === 'no-webgpu' && !navigator.gpu ? missing : failed);
  byId('problem').hidden = false;
}

function setRunning(isRunning: boolean): void {
  byId('running').hidden = !isRunning;
  byId<HTMLButtonElement>('start').disabled = isRunning;
  byId<HTMLButtonElement>('cancel').disabled = !isRunning;
}

function showProgress({ share, secondsLeft, text }: Progress): void {
  byId<HTMLProgressElement>('progress').value = share;
  const left = secondsLeft === undefined ? 'estimating the time left' : `about ${Math.max(1, Math.round(secondsLeft))} s left`;
  replace('progress-text', `${Math.round(100 * share)}%: ${text}, ${left}`);
}

function show(): void {
  if (!report) return;
  byId('results').hidden = false;
  const width = byId('results').clientWidth;
  const style = getComputedStyle(document.body);
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  replace('plot', timePlot(report.rows, { width: Math.min(width, 900), isDark, ink: style.color }));
  const keys = Object.keys(HEADINGS) as (keyof typeof HEADINGS)[];
  const rows = report.rows.map((row) => {
    const { path, ...rest } = display(row);
    return element(
      'tr',
      {},
      element('th', { scope: 'row' }, path),
      ...keys.slice(1).map((key) => element('td', { class: 'number' }, rest[key as keyof typeof rest])),
    );
  });
  const caption = element('caption', {}, `${report.options.heads} heads of size ${report.options.headSize}`);
  replace(
    'table',
    scrolling(
      element('table', {}, caption, headRow(...keys.map((key) => HEADINGS[key])), element('tbody', {}, ...rows)),
      'Results as a table',
    ),
  );
  showDevice(report.device);
}

function showDevice({ adapter, features, limits }: Device): void {
  const line = (name: string, value: string) => element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, value));
  const lines = [
    line('adapter', adapter),
    line('features', features.join(', ') || 'none'),
    ...Object.entries(limits).map(([name, value]) => line(name, value.toLocaleString('en'))),
  ];
  replace('device', scrolling(element('table', {}, element('tbody', {}, ...lines)), 'Adapter, features and limits'));
}

function download(format: string): void {
  if (!report) return;
  const plot = document.querySelector<SVGSVGElement>('#plot svg')!;
  const files: Record<string, [string, string]> = {
    json: [toJson(report), 'application/json'],
    csv: [toCsv(report), 'text/csv'],
    svg: [toSvg(plot), 'image/svg+xml'],
  };
  const [text, type] = files[format]!;
  const url = URL.createObjectURL(new Blob([text], { type }));
  element('a', { href: url, download: `webgpu-attention-benchmark.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

drawForm();
byId('form').addEventListener('submit', (event) => {
  event.preventDefault();
  void run();
});
byId('cancel').addEventListener('click', () => cancel?.abort());
byId('retry').addEventListener('click', () => void run());
byId('downloads').addEventListener('click', ({ target }) => {
  const format = (target as HTMLElement).dataset.format;
  if (format) download(format);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', show);
addEventListener('resize', show);
