/** The benchmark page, as a visitor uses it, and its command. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'puppeteer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Report } from '../../demo/benchmark/measure.ts';
import { bytesMoved, operations } from '../../demo/benchmark/work.ts';
import { projectRoot } from '../rig/find-chrome.ts';
import { HANG_MS } from '../rig/limits.ts';
import { DemoSite, expectAccessible, readTable } from './demo-site.ts';

let site: DemoSite;
beforeAll(async () => {
  site = await DemoSite.open();
});
afterAll(() => site.close());

interface Form {
  readonly lengths: readonly number[];
  readonly heads?: number;
  readonly headSize?: number;
  readonly repeats?: number;
}

async function fill(page: Page, { lengths, heads = 2, headSize = 16, repeats = 2 }: Form): Promise<void> {
  await page.evaluate(
    (chosen, values) => {
      for (const box of document.querySelectorAll<HTMLInputElement>('input[name="length"]'))
        box.checked = chosen.includes(Number(box.value));
      for (const [id, value] of Object.entries(values)) document.querySelector<HTMLInputElement>(`#${id}`)!.value = String(value);
    },
    [...lengths],
    { heads, 'key-heads': heads, 'head-size': headSize, repeats },
  );
}

async function start(page: Page, form: Form): Promise<void> {
  await fill(page, form);
  await page.click('#start');
}

const untilEnded = (page: Page) => page.waitForSelector('#start:enabled');

/** GFLOP/s of the row agree with its time, to the digits shown. */
function expectConsistent({ rows, roofline }: Pick<Report, 'rows' | 'roofline'>): void {
  for (const row of rows) {
    const { median, least, most, gflops, gbps, share, bound, first, error, path } = row;
    expect(gflops).toBeCloseTo(operations(row) / median / 1e6, 9);
    expect(gbps).toBeCloseTo(bytesMoved(row) / median / 1e6, 9);
    expect(least).toBeLessThanOrEqual(median);
    expect(median).toBeLessThanOrEqual(most);
    if (path === 'CPU reference') continue;
    expect(error).toBeLessThan(1e-5);
    expect(first).toBeGreaterThan(0);
    const peak = bound === 'bytes' ? roofline.gbps : roofline.gflops;
    expect(share).toBeCloseTo((bound === 'bytes' ? gbps : gflops) / peak, 9);
  }
}

describe('a run', () => {
  test('a short run: table, plot, device, and every download', async () => {
    const { page, problems } = await site.visit('benchmark.html');
    const downloads = mkdtempSync(join(tmpdir(), 'webgpu-attention-downloads-'));
    const session = await page.createCDPSession();
    await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads });
    await start(page, { lengths: [64, 256], heads: 8, headSize: 64, repeats: 3 });
    await untilEnded(page);
    expect(await page.$eval('#status', (node) => node.textContent)).toBe('Done: 2 lengths on 3 paths, every answer checked.');
    const table = await readTable(page, '#table tbody');
    expect(table.map(([path, length]) => [path, length])).toEqual([
      ['CPU reference', '64'],
      ['Explicit', '64'],
      ['Fused', '64'],
      ['CPU reference', '256'],
      ['Explicit', '256'],
      ['Fused', '256'],
    ]);
    expect(await page.$$eval('#plot svg [stroke-width="1.5"] > *', (marks) => marks.length)).toBe(6); // a dot a row
    expect(await page.$eval('#device', (node) => node.textContent)).toContain('maxStorageBufferBindingSize');

    for (const format of ['json', 'csv', 'svg']) await page.click(`[data-format="${format}"]`);
    const stem = join(downloads, 'webgpu-attention-benchmark');
    await expect
      .poll(() => readdirSync(downloads).sort())
      .toEqual(['csv', 'json', 'svg'].map((format) => `webgpu-attention-benchmark.${format}`));
    const report = JSON.parse(readFileSync(`${stem}.json`, 'utf8')) as Report;
    expectConsistent(report);
    expect(report.rows.length).toBe(6);
    const [header, ...lines] = readFileSync(`${stem}.csv`, 'utf8').trim().split('\r\n');
    expect(header).toBe(
      'path,pass,kernels,length,queries,heads,keyHeads,headSize,isCausal,runs,calls,first,median,least,most,gflops,gbps,bound,share,error',
    );
    expect(lines.map((line) => Number(line.split(',')[12]))).toEqual(report.rows.map(({ median }) => median));
    const svg = readFileSync(`${stem}.svg`, 'utf8');
    const parsed = await page.evaluate((text) => {
      const { documentElement } = new DOMParser().parseFromString(text, 'image/svg+xml');
      return [documentElement.tagName, documentElement.namespaceURI];
    }, svg);
    expect(parsed).toEqual(['svg', 'http://www.w3.org/2000/svg']);
    await expectAccessible(page);
    await page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: 'dark' },
      { name: 'prefers-reduced-motion', value: 'reduce' }, // colours that fade are measured half-way
    ]);
    await expectAccessible(page);
    await page.close();
    rmSync(downloads, { recursive: true });
    expect(problems).toEqual([]);
  });

  test('the passes: a row each, with names that say so', async () => {
    const { page, problems } = await site.visit('benchmark.html');
    for (const pass of ['backward', 'both']) await page.click(`#${pass}`);
    await start(page, { lengths: [64], repeats: 1 });
    await untilEnded(page);
    expect(await page.$eval('#status', (node) => node.textContent)).toBe('Done: 1 length on 7 paths, every answer checked.');
    expect((await readTable(page, '#table tbody')).map(([path]) => path)).toEqual([
      ...['CPU reference', 'Explicit', 'Fused'],
      ...['CPU reference, backward', 'Fused, backward'],
      ...['CPU reference, both', 'Fused, both'],
    ]);
    for (const pass of ['forward', 'backward', 'both']) await page.click(`#${pass}`);
    await page.click('#start');
    expect(await page.$eval('#status', (node) => node.textContent)).toBe('Choose at least one pass.');
    await page.close();
    expect(problems).toEqual([]);
  });
});

describe('a run that does not come to its end', () => {
  test('Cancel ends a long run in the middle and keeps what was measured', async () => {
    const { page, problems } = await site.visit('benchmark.html', { width: 360 });
    await start(page, { lengths: [64, 2048], heads: 8, repeats: 5 });
    await page.waitForFunction(() => document.querySelectorAll('#table tbody tr').length === 3);
    await page.waitForFunction(() => document.querySelector('#progress-text')!.textContent!.includes('2048'));
    await page.click('#cancel');
    await untilEnded(page);
    expect(await page.$eval('#status', (node) => node.textContent)).toBe('Cancelled. What was measured until then is below.');
    expect(await page.$$eval('#table tbody tr', (rows) => rows.length)).toBe(3);
    await page.close();
    expect(problems).toEqual([]);
  });

  test('no length chosen is an error message', async () => {
    const { page, problems } = await site.visit('benchmark.html');
    await start(page, { lengths: [] });
    expect(await page.$eval('#status', (node) => node.textContent)).toBe('Choose at least one length.');
    await page.close();
    expect(problems).toEqual([]);
  });

  test('without WebGPU it says so and names browsers', async () => {
    const { page, problems } = await site.visit('benchmark.html', {
      before: () => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined, configurable: true }),
    });
    await start(page, { lengths: [64] });
    await page.waitForSelector('#problem:not([hidden])');
    expect(await page.$eval('#problem-text', (node) => node.textContent)).toContain('This browser has no WebGPU');
    await expectAccessible(page);
    await page.close();
    expect(problems).toEqual([]);
  });

  test('the GPU process ends in the middle of a run: the page says so, and Retry runs again', async () => {
    const { page } = await site.visit('benchmark.html');
    await fill(page, { lengths: [256, 512, 1024, 2048], heads: 8, repeats: 50 }); // lasts: the reference alone takes seconds anywhere
    await page.click('#start');
    await page.waitForFunction(() => document.querySelector('#progress-text')!.textContent!.includes('Explicit'));
    const session = await site.browser.target().createCDPSession();
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    const gpu = processInfo.find(({ type }) => type === 'GPU')!;
    process.kill(gpu.id, 'SIGKILL');
    await page.waitForSelector('#problem:not([hidden])');
    expect(await page.$eval('#problem-text', (node) => node.textContent)).toContain('the device was lost');
    await fill(page, { lengths: [256], repeats: 1 });
    await page.click('#retry');
    await untilEnded(page);
    expect(await page.$eval('#status', (node) => node.textContent)).toContain('Done');
    await page.close();
  });
});

describe('npm run bench', () => {
  const bench = (...args: string[]) =>
    spawnSync(process.execPath, [join(projectRoot, 'demo/bench.mjs'), ...args], { encoding: 'utf8', cwd: projectRoot, timeout: HANG_MS });

  test('prints a table whose GFLOP/s agree with its times, and writes JSON and SVG', () => {
    const { status, stdout } = bench(
      ...['--passes', 'both,backward,forward', '--lengths', '48,32', '--heads', '2', '--head-size', '16', '--repeats', '2'],
    );
    expect(status).toBe(0);
    const [, stem] = stdout.match(/Written: (.*)\.json and \.svg/)!;
    const report = JSON.parse(readFileSync(`${stem}.json`, 'utf8')) as Report;
    expectConsistent(report);
    expect(report.rows.map(({ length, pass, path }) => [length, pass, path])).toEqual(
      [32, 48].flatMap((length) => [
        ...['CPU reference', 'Explicit', 'Fused'].map((path) => [length, 'forward', path]),
        ...['backward', 'both'].flatMap((pass) => ['CPU reference', 'Fused'].map((path) => [length, pass, path])),
      ]),
    );
    // five matrix products in place of two, and as many bytes again for the gradients
    const ofFused = report.rows.filter(({ length, path }) => length === 48 && path === 'Fused');
    expect(ofFused.map(operations)).toEqual([2, 5, 7].map((products) => products * 2 * 2 * 48 * 48 * 16));
    expect(ofFused.map(bytesMoved)).toEqual([4, 8, 12].map((tensors) => tensors * 4 * 2 * 48 * 16));
    expect(ofFused[1]!.kernels).toContain('flash_backward_dkv');
    for (const { path, median, gflops } of report.rows)
      expect(stdout).toMatch(new RegExp(`${path} .* ${median.toFixed(median < 10 ? 3 : 1)} .* ${gflops.toFixed(2)} `));
    expect(readFileSync(`${stem}.svg`, 'utf8')).toMatch(/^<\?xml[^>]*>\s*<svg /);
    for (const format of ['json', 'svg']) rmSync(`${stem}.${format}`);
  });

  test.each([
    [['--lengths', '12,x'], /--lengths is "x": need a whole number/],
    [['--heads', '0'], /--heads is "0"/],
    [['--heads', '8', '--key-heads', '3'], /3 key heads do not divide 8 heads/],
    [['--passes', 'forward,sideways'], /--passes has "sideways": known are forward, backward, both/],
    [['--tune', '--passes', 'backward'], /tune measures the forward pass, and the passes are backward/],
    [['--fast'], /Unknown option '--fast'/],
  ] as const)('%j is an error, before a browser starts', (args, message) => {
    const { status, stderr } = bench(...args);
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('[browser]');
  });
});
