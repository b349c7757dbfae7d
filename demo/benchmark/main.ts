/** The benchmark page: its form, its progress, its results. */
import { NO_WEBGPU } from '../engine.ts';
import { byId, element, headRow, replace, scrolling } from '../ui/dom.ts';
import { describeRoofline, display, HEADINGS, toCsv, toJson, toSvg } from './formats.ts';
import { benchmark, countPaths, type Progress, type Report } from './measure.ts';
import { timePlot } from './plot.ts';
import { type BenchmarkOptions, PASSES } from './work.ts';

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
  const queries = byId<HTMLSelectElement>('queries').value;
  const isChecked = (id: string) => byId<HTMLInputElement>(id).checked;
  const passes = PASSES.filter((pass) => isChecked(pass));
  if (passes.length === 0) throw new Error('Choose at least one pass.');
  return {
    ...{ passes, lengths, queries: queries ? Number(queries) : undefined, isCausal: isChecked('causal'), tune: isChecked('tune') },
    ...{ heads: number('heads'), keyHeads: number('key-heads'), headSize: number('head-size'), repeats: number('repeats') },
  };
}

async function run(): Promise<void> {
  byId('problem').hidden = true;
  try {
    const options = readForm();
    cancel = new AbortController();
    setRunning(true);
    byId('status').textContent = '';
    report = undefined;
    byId('results').hidden = true;
    const onReport = (partial: Report) => {
      report = partial;
      show();
    };
    report = await benchmark(options, { signal: cancel.signal, onProgress: showProgress, onReport });
    const lengths = report.options.lengths.length === 1 ? '1 length' : `${report.options.lengths.length} lengths`;
    byId('status').textContent = `Done: ${lengths} on ${countPaths(report.options)} paths, every answer checked.`;
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
  const missing = `${NO_WEBGPU} So there is nothing to measure against the CPU.`;
  const failed = `The GPU cannot be used. ${error.message}`;
  replace('problem-text', code === 'no-webgpu' && !navigator.gpu ? missing : failed);
  byId('problem').hidden = false;
}

function setRunning(isRunning: boolean): void {
  const [startButton, cancelButton] = [byId<HTMLButtonElement>('start'), byId<HTMLButtonElement>('cancel')];
  byId('running').hidden = !isRunning;
  byId<HTMLProgressElement>('progress').value = 0;
  replace('progress-text', 'Starting …');
  // The focus goes to the button that can be used now, not to nowhere.
  const hadFocus = [startButton, cancelButton, byId('retry')].includes(document.activeElement as HTMLButtonElement);
  startButton.disabled = isRunning;
  cancelButton.disabled = !isRunning;
  if (hadFocus) (isRunning ? cancelButton : startButton).focus();
}

function showProgress({ share, secondsLeft, text }: Progress): void {
  byId<HTMLProgressElement>('progress').value = share;
  const left = secondsLeft === undefined ? 'estimating the time left' : `about ${Math.max(1, Math.round(secondsLeft))} s left`;
  replace('progress-text', `${Math.round(100 * share)}%: ${text}, ${left}`);
}

function show(): void {
  if (!report) return;
  byId('results').hidden = false;
  showPlot();
  const keys = Object.keys(HEADINGS) as (keyof typeof HEADINGS)[];
  const rows = report.rows.map((row) => {
    const { path, ...rest } = display(row);
    return element(
      'tr',
      {},
      element('th', { scope: 'row' }, path),
      ...keys.slice(1).map((key) => element('td', { class: key === 'kernels' ? '' : 'number' }, rest[key as keyof typeof rest])),
    );
  });
  const { heads, keyHeads, headSize, isCausal, queries } = report.options;
  const details = [`${heads} heads of size ${headSize}`, keyHeads !== heads && `${keyHeads} key heads`, isCausal && 'causal'];
  const counts = queries ? `queries: ${queries}` : 'as many queries as keys';
  const caption = element('caption', {}, [...details.filter(Boolean), counts].join(', '));
  byId('missing').hidden = report.missing.length === 0;
  replace('missing', report.missing.join('\n'));
  replace(
    'table',
    scrolling(
      element('table', {}, caption, headRow(...keys.map((key) => HEADINGS[key])), element('tbody', {}, ...rows)),
      'Results as a table',
    ),
  );
  showDevice(report);
}

/** Draws the plot as wide as the page has room. */
function showPlot(): void {
  if (!report) return;
  const width = Math.min(byId('results').clientWidth, 900);
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  replace('plot', timePlot(report.rows, { width, isDark, ink: getComputedStyle(document.body).color }));
}

function showDevice(shown: Report): void {
  const { adapter, features, limits } = shown.device;
  const line = (name: string, value: string) => element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, value));
  const lines = [
    line('adapter', adapter),
    line('its peak', describeRoofline(shown)),
    line('features', features.join(', ') || 'none'),
    ...Object.entries(limits).map(([name, value]) => line(name, value.toLocaleString('en'))),
  ];
  replace('device', scrolling(element('table', {}, element('tbody', {}, ...lines)), 'Adapter, features and limits'));
}

function download(format: string): void {
  if (!report) return;
  const files: Record<string, [string, string]> = {
    json: [toJson(report), 'application/json'],
    csv: [toCsv(report), 'text/csv'],
    svg: [toSvg(timePlot(report.rows, { width: 800, isDark: false, ink: '#1b1d22' })), 'image/svg+xml'], // for paper, whatever the theme
  };
  const [text, type] = files[format]!;
  const url = URL.createObjectURL(new Blob([text], { type }));
  element('a', { href: url, download: `webgpu-attention-benchmark.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

drawForm();
byId('heads').addEventListener('input', () => {
  byId<HTMLInputElement>('key-heads').value = byId<HTMLInputElement>('heads').value; // any number of heads has this divisor
});
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
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', showPlot);
let drawnWidth = innerWidth;
addEventListener('resize', () => {
  if (innerWidth !== drawnWidth) showPlot(); // a phone's address bar changes the height alone
  drawnWidth = innerWidth;
});
