/** The walk, as a visitor takes it. */
import type { Page } from 'puppeteer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TWO_HEADS, weightOptions } from '../../demo/weights.ts';
import { wordsOf } from '../../demo/words.ts';
import { selfAttention } from '../../src/reference/index.ts';
import { DemoSite, type DrivenPage, expectAccessible, readTable } from './demo-site.ts';

let site: DemoSite;
beforeAll(async () => {
  site = await DemoSite.open();
});
afterAll(() => site.close());

const untilDrawn = (page: Page) => page.waitForFunction('document.documentElement.dataset.drawn !== undefined');

/** The last step, how long ways of computing take, comes once the others are drawn: on a software device its kernels compile for seconds. */
const untilMeasured = (page: Page) => page.waitForSelector('#measure[aria-disabled=false]');

/** Does something, and waits until the page was drawn anew. */
async function andRedraw(page: Page, act: () => Promise<unknown>): Promise<void> {
  const before = await page.evaluate(() => Number(document.documentElement.dataset.drawn));
  await act();
  await page.waitForFunction((n) => Number(document.documentElement.dataset.drawn) > n, {}, before);
}

async function open(path = 'index.html', options: Parameters<DemoSite['visit']>[1] = {}): Promise<DrivenPage> {
  const driven = await site.visit(path, options);
  await untilDrawn(driven.page);
  return driven;
}

const closeWithoutProblems = async ({ page, problems }: DrivenPage) => {
  expect(problems).toEqual([]); // before it is closed, which may break off what it still loads
  await page.close();
};

const numbers = (table: string[][]) =>
  table.map((row) =>
    row.map((text) => (text === '' ? Number.NaN : Number(text.replace('−', '-')))).filter((value) => !Number.isNaN(value)),
  );
const fourDigits = (values: ArrayLike<number>) => Array.from(values, (value) => Number(value.toFixed(4)));
const vectors = (sentence: string) => wordsOf(sentence).map(({ vector }) => vector);
const EXAMPLE = vectors('Your journey starts with one step');
const rowOf = (data: ArrayLike<number>, n: number, width: number) =>
  fourDigits(Array.from({ length: width }, (_, i) => data[n * width + i]!));

describe('the walk', () => {
  test('the example: every step shows the reference’s numbers', async () => {
    const driven = await open();
    const { page } = driven;
    expect(await page.$eval('#engine', (node) => node.textContent)).toContain('on your GPU');
    const expected = selfAttention(EXAMPLE);
    expect(numbers(await readTable(page, '#scores tbody')).flat()).toEqual(rowOf(expected.scores.data, 1, 6));
    expect(await page.$eval('#arithmetic', (node) => node.textContent)).toContain(
      'journey · Your = 0.55 × 0.43 + 0.87 × 0.15 + 0.66 × 0.89 = 0.9544',
    );
    expect(numbers(await readTable(page, '#all tbody')).flat()).toEqual(fourDigits(expected.weights.data));
    expect(numbers(await readTable(page, '#context tfoot'))[0]).toEqual([1, ...rowOf(expected.context.data, 1, 3)]);
    const heads = selfAttention(EXAMPLE, TWO_HEADS);
    expect(numbers(await readTable(page, '#heads tbody')).flat()).toEqual(fourDigits(heads.weights.data));
    expect(numbers(await readTable(page, '#heads-context tbody')).flat()).toEqual(fourDigits(heads.context.data));
    await untilMeasured(page);
    expect(await page.$eval('#times-note', (node) => node.textContent)).toMatch(/loops win|GPU wins/);
    await closeWithoutProblems(driven);
  });

  test('choosing another query and another key', async () => {
    const driven = await open();
    const { page } = driven;
    await andRedraw(page, () => page.click('#query-choices label:nth-child(5)'));
    await andRedraw(page, () => page.click('#key-choices label:nth-child(6)'));
    const expected = selfAttention(EXAMPLE);
    expect(numbers(await readTable(page, '#scores tbody')).flat()).toEqual(rowOf(expected.scores.data, 4, 6));
    expect(await page.$eval('#arithmetic', (node) => node.textContent)).toContain(
      'one · step = 0.77 × 0.05 + 0.25 × 0.80 + 0.10 × 0.55 = 0.2935',
    );
    await page.waitForFunction(() => location.search === '?query=4&key=5');
    await closeWithoutProblems(driven);
  });

  test('the heat map is read with mouse and keyboard', async () => {
    const driven = await open();
    const { page } = driven;
    const reading = () => page.$eval('#all .reading', (node) => node.textContent);
    await page.hover('#all tbody tr:nth-child(2) td:nth-child(4)');
    expect(await reading()).toBe('“journey” looks at “starts” with weight 0.2333 (CPU 0.2333).');
    await page.focus('#all td[tabindex="0"]');
    for (const key of ['ArrowDown', 'ArrowRight', 'ArrowRight', 'ArrowUp', 'ArrowUp'] as const) await page.keyboard.press(key);
    expect(await reading()).toBe('“Your” looks at “starts” with weight 0.1981 (CPU 0.1981).');
    await closeWithoutProblems(driven);
  });
});

describe('the slider', () => {
  test('the slider: the naive ways overflow, the stable one does not', async () => {
    const driven = await open();
    const { page } = driven;
    const slide = (value: number) =>
      andRedraw(page, () =>
        page.$eval(
          '#scale',
          (slider, to) => {
            (slider as HTMLInputElement).value = String(to);
            slider.dispatchEvent(new Event('input', { bubbles: true }));
          },
          value,
        ),
      );
    const sums = () => page.$$eval('.way tfoot .number', (cells) => cells.map((cell) => cell.firstChild!.textContent));
    expect(await sums()).toEqual(['1.0000', '1.0000', '1.0000']);
    await slide(0.8);
    expect(await sums()).toEqual(['1.0000', '1.0000', '1.0000']);
    await slide(1);
    expect(await sums()).toEqual(['1.0000', 'NaN', '1.0000']);
    expect(await page.$eval('#ways-note', (node) => node.textContent)).toContain('∞ ÷ ∞ is not a number');
    await slide(19);
    expect(await sums()).toEqual(['0.0000', 'NaN', '1.0000']);
    const stable = await readTable(page, '.way:nth-child(3) tbody');
    expect(numbers(stable).flat()).toEqual([0, 1, 0, 0, 0, 0]);
    await closeWithoutProblems(driven);
  });

  test('a slider moved while the page is still being drawn leaves no step empty', async () => {
    const driven = await site.visit('index.html');
    const { page } = driven;
    await page.$eval('#scale', (slider) => {
      for (const value of ['3', '7', '1']) {
        (slider as HTMLInputElement).value = value;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
      }
    });
    const areAllDrawn = () => ['#all', '#masked'].every((step) => document.querySelectorAll(`${step} tbody tr`).length === 6);
    await page.waitForFunction(areAllDrawn); // the slider's own step is drawn at once, on the CPU
    await page.waitForFunction(() => document.querySelectorAll('.way tfoot .number')[1]?.firstChild?.textContent === 'NaN');
    await closeWithoutProblems(driven);
  });
});

describe('the walk of another sentence', () => {
  test('typing a sentence: made-up vectors are named, and markup stays text', async () => {
    const driven = await open();
    const { page } = driven;
    await page.$eval('#sentence', (input) => {
      (input as HTMLInputElement).value = '';
    });
    await page.type('#sentence', 'My <b>cat</b> starts one journey');
    await andRedraw(page, () => page.click('#sentence-form button[type="submit"]'));
    const texts = ['My', 'b', 'cat', 'b', 'starts', 'one', 'journey'];
    expect((await readTable(page, '#vectors tbody')).map(([word]) => word)).toEqual(texts);
    expect(await page.$eval('#vectors-note', (node) => node.textContent)).toContain(
      'Made up by this page from the letters, so their likeness means nothing: “My”, “b”, “cat”.',
    );
    const expected = selfAttention(vectors('My b cat b starts one journey'));
    expect(numbers(await readTable(page, '#all tbody')).flat()).toEqual(fourDigits(expected.weights.data));
    await page.waitForFunction(() => new URLSearchParams(location.search).get('sentence') === 'My <b>cat</b> starts one journey');
    await page.$eval('#sentence', (input) => {
      (input as HTMLInputElement).value = '…';
    });
    await page.click('#sentence-form button[type="submit"]');
    expect(await page.$eval('#sentence-note', (node) => node.textContent)).toBe('A sentence needs at least one word.');
    await closeWithoutProblems(driven);
  });

  test('a shared address: sentence, query, weights, mask and the CPU’s numbers', async () => {
    const sentence = 'The cat sat on the mat because it was warm';
    const driven = await open(`index.html?sentence=${encodeURIComponent(sentence)}&query=9&weights=v1&causal&cpu`);
    const { page } = driven;
    const rows = vectors(sentence);
    const expected = selfAttention(rows);
    expect(numbers(await readTable(page, '#scores tbody')).flat()).toEqual(rowOf(expected.scores.data, 9, 10));
    const trained = selfAttention(rows, weightOptions('v1'));
    expect(numbers(await readTable(page, '#trained tbody')).flat()).toEqual(fourDigits(trained.weights.data));
    expect(numbers(await readTable(page, '#trained-context tbody')).flat()).toEqual(fourDigits(trained.context.data));
    const masked = selfAttention(rows, { ...weightOptions('v1'), isCausal: true });
    const shown = fourDigits(masked.weights.data).filter((_, i) => i % 10 <= Math.floor(i / 10));
    expect(numbers(await readTable(page, '#masked tbody')).flat()).toEqual(shown);
    const beside = await page.$eval('#scores .cpu', (node) => ({ text: node.textContent, display: getComputedStyle(node).display }));
    expect(beside).toMatchObject({ text: expect.stringMatching(/^CPU \d\.\d{4}, off by (0|\de-\d+)$/), display: 'block' });
    await closeWithoutProblems(driven);
  });

  test('words that are names of JavaScript are words', async () => {
    const driven = await open('index.html?sentence=constructor+toString+__proto__');
    expect((await readTable(driven.page, '#vectors tbody')).map(([word]) => word)).toEqual(['constructor', 'toString', 'proto']);
    await closeWithoutProblems(driven);
  });

  test('nonsense in the address falls back to the example', async () => {
    const driven = await open('index.html?sentence=%20&query=99&key=-1&scale=1e9&weights=none-such');
    expect((await readTable(driven.page, '#vectors tbody')).map(([word]) => word)).toEqual([
      'Your',
      'journey',
      'starts',
      'with',
      'one',
      'step',
    ]);
    await closeWithoutProblems(driven);
  });
});

describe('without a GPU', () => {
  test('no WebGPU: says so, names browsers, and walks on with the CPU reference', async () => {
    const driven = await open('index.html', {
      before: () => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined, configurable: true }),
    });
    const { page } = driven;
    const text = await page.$eval('#problem', (node) => node.textContent);
    expect(text).toContain('This browser has no WebGPU');
    expect(text).toContain('Firefox');
    expect(text).toContain('from the CPU reference instead');
    expect(numbers(await readTable(page, '#all tbody')).flat()).toEqual(fourDigits(selfAttention(EXAMPLE).weights.data));
    await untilMeasured(page);
    await expectAccessible(page);
    await closeWithoutProblems(driven);
  });

  test('no adapter, then one: Retry', async () => {
    const driven = await open('index.html', {
      before: () => {
        const request = GPU.prototype.requestAdapter;
        GPU.prototype.requestAdapter = async function (this: GPU, options) {
          const isFirst = !('tried' in window);
          Object.assign(window, { tried: true });
          return isFirst ? null : request.call(this, options);
        };
      },
    });
    const { page } = driven;
    expect(await page.$eval('#problem-text', (node) => node.textContent)).toContain('requestAdapter gave null');
    await andRedraw(page, () => page.click('#retry'));
    expect(await page.$eval('#engine', (node) => node.textContent)).toContain('on your GPU');
    expect(await page.$eval('#problem', (node) => (node as HTMLElement).hidden)).toBe(true);
    await closeWithoutProblems(driven);
  });
});

describe('for everyone', () => {
  test('axe-core finds nothing: light and wide, then dark and narrow', async () => {
    const driven = await open('index.html?cpu&causal&scale=10', { theme: 'light', width: 1280 });
    const { page } = driven;
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await untilMeasured(page);
    await expectAccessible(page);
    expect(await overflow()).toBeLessThanOrEqual(0);
    await page.setViewport({ width: 360, height: 900 });
    await page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: 'dark' },
      { name: 'prefers-reduced-motion', value: 'reduce' }, // colours that fade are measured half-way
    ]);
    await expectAccessible(page);
    expect(await overflow()).toBeLessThanOrEqual(0);
    await closeWithoutProblems(driven);
  });

  test('the whole demo is below 300 KB gzip', () => {
    expect(site.gzipBytes()).toBeLessThan(300 * 1024);
  });
});
