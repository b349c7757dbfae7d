/** The training page, as a visitor uses it, and its command's errors. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Page } from 'puppeteer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ANIMALS,
  drawing,
  HELD_OUT_SENTENCES,
  isHeldOut,
  PAGE_SENTENCE,
  PLACES,
  sentenceOf,
  trainingBatch,
  VOCABULARY,
} from '../../demo/train/data.ts';
import { projectRoot } from '../rig/find-chrome.ts';
import { HANG_MS } from '../rig/limits.ts';
import { DemoSite, type DrivenPage, expectAccessible, readTable } from './demo-site.ts';

let site: DemoSite;
beforeAll(async () => {
  site = await DemoSite.open();
});
afterAll(() => site.close());

const drawings = (page: Page) => page.evaluate(() => Number(document.documentElement.dataset.drawn ?? 0));

/** Does something, and waits until the page was drawn anew and rests. */
async function andRest(page: Page, act: () => Promise<unknown>): Promise<void> {
  const before = await drawings(page);
  await act();
  await page.waitForFunction((n) => Number(document.documentElement.dataset.drawn ?? 0) > n, {}, before);
}

/** Counts live buffers, from before the page's scripts on. */
function countBuffers(): void {
  const buffers = { live: 0 };
  Object.assign(window, { buffers });
  const create = GPUDevice.prototype.createBuffer;
  GPUDevice.prototype.createBuffer = function (this: GPUDevice, descriptor) {
    const buffer = create.call(this, descriptor);
    const destroy = buffer.destroy.bind(buffer);
    buffers.live++;
    let isLive = true;
    buffer.destroy = () => {
      if (isLive) buffers.live--;
      isLive = false;
      return destroy();
    };
    return buffer;
  };
}

const liveBuffers = (page: Page) => page.evaluate('window.buffers.live') as Promise<number>;

const textOf = (page: Page, selector: string) => page.$eval(selector, (node) => node.textContent ?? '');

async function open(options: Parameters<DemoSite['visit']>[1] = {}): Promise<DrivenPage> {
  const driven = await site.visit('train.html', { before: countBuffers, ...options });
  await driven.page.waitForFunction('document.documentElement.dataset.drawn');
  return driven;
}

async function closeWithoutProblems({ page, problems }: DrivenPage): Promise<void> {
  await page.close();
  expect(problems).toEqual([]);
}

/** The attention of "was" to a word, in the column "now". */
async function attentionTo(page: Page, word: string): Promise<number> {
  const row = (await readTable(page, '#bars tbody')).find(([name]) => name === word)!;
  return Number(row[2]);
}

describe('training', () => {
  test('one step, another sentence, reset, and training to the end', async () => {
    const driven = await open();
    const { page } = driven;
    expect(await textOf(page, '#engine')).toContain('on your GPU');
    expect(await textOf(page, '#progress-text')).toBe('Step 0 of 400, 24 dispatches each.');
    expect(await attentionTo(page, 'mat')).toBeLessThan(0.15);
    await andRest(page, () => page.click('#step'));
    const first = await textOf(page, '#progress-text');
    expect(first).toMatch(/^Step 1 of 400, 24 dispatches each\. Loss [34]\.\d{4}\.$/);

    await andRest(page, () => page.select('#part-place', '6'));
    await andRest(page, () => page.select('#part-isInverted', '1'));
    await andRest(page, () => page.select('#part-opening', '2'));
    expect(await textOf(page, '#sentence')).toBe('“One morning on the stove the cat sat because it was …”');
    expect(await textOf(page, '#answer')).toContain('Right is “hot”');
    expect((await readTable(page, '#maps .heat:nth-child(1) tbody')).map(([word]) => word)).toContain('stove');

    await andRest(page, () => page.click('#reset'));
    expect(await textOf(page, '#progress-text')).toBe('Step 0 of 400, 24 dispatches each.');
    await andRest(page, () => page.click('#step'));
    expect(await textOf(page, '#progress-text')).toBe(first); // the same seed, the same loss
    const live = await liveBuffers(page);

    for (const id of ['opening', 'place', 'isInverted']) await andRest(page, () => page.select(`#part-${id}`, '0'));
    await andRest(page, () => page.click('#play'));
    expect(await textOf(page, '#status')).toMatch(/^Trained at step 400\. \d+ steps a second on this GPU/);
    expect(await attentionTo(page, 'mat')).toBeGreaterThan(0.75);
    expect(await textOf(page, '#answer')).toMatch(/^The model says: warm 9\d\.\d%.*a pair kept back from training\.$/);
    const tests = Object.fromEntries((await readTable(page, '#tests tbody')).map(([name, ...values]) => [name, values]));
    expect(tests.Now![0]).toBe('100.0%');
    expect(Number(tests.Now![1])).toBeGreaterThan(0.9);
    expect(Number(tests.Now![2])).toBeGreaterThan(0.75);
    expect(Number(tests['Now, positions permuted']![1])).toBeGreaterThan(0.8);
    expect(Number(tests['Without trainable weights']![1])).toBeLessThan(0.2);
    expect(await page.$$eval('#play[aria-disabled=true], #step[aria-disabled=true]', (buttons) => buttons.length)).toBe(2);
    expect(await liveBuffers(page)).toBeLessThan(live + 20); // not one a step: the controls and their downloads need a few
    await expectAccessible(page);

    await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide')));
    expect(await liveBuffers(page)).toBe(0);
    await closeWithoutProblems(driven);
  });

  test('pause, go on, reset while it trains; the CPU’s steps give the same parameters', async () => {
    const driven = await open({ theme: 'dark', width: 360 });
    const { page } = driven;
    await page.click('#play');
    await page.waitForFunction('document.querySelector("#progress").value >= 5');
    expect(await textOf(page, '#play')).toBe('Pause');
    await andRest(page, () => page.click('#play'));
    expect(await textOf(page, '#play')).toBe('Go on');
    const step = await page.$eval('#progress', (bar) => (bar as HTMLProgressElement).value);
    expect(await textOf(page, '#status')).toContain(`Paused at step ${step}.`);
    await page.click('#compare');
    await page.waitForFunction('/largest difference/.test(document.querySelector("#compare-text").textContent)');
    const [, difference] = (await textOf(page, '#compare-text')).match(/the largest difference of 8,313 parameters is (\S+)\. /)!;
    expect(Number(difference)).toBeLessThan(1e-4);

    await page.click('#play');
    await page.waitForFunction((from) => document.querySelector<HTMLProgressElement>('#progress')!.value > from, {}, step);
    await page.$eval('#seed', (input) => {
      (input as HTMLInputElement).value = '7';
    });
    await andRest(page, () => page.click('#reset'));
    expect(await textOf(page, '#progress-text')).toBe('Step 0 of 400, 24 dispatches each.');
    expect(await textOf(page, '#play')).toBe('Train');
    await expectAccessible(page);
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    await closeWithoutProblems(driven);
  });
});

describe('the page', () => {
  test('without WebGPU it says so, and names browsers that have it', async () => {
    const driven = await site.visit('train.html', {
      before: () => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined, configurable: true }),
    });
    const { page } = driven;
    await page.waitForSelector('#problem:not([hidden])');
    expect(await textOf(page, '#problem')).toContain('This browser has no WebGPU');
    expect(await page.$$eval('#play[aria-disabled=true]', (buttons) => buttons.length)).toBe(1);
    await expectAccessible(page);
    await closeWithoutProblems(driven);
  });

  test('the walk leads to it', async () => {
    const driven = await site.visit('index.html');
    const { page } = driven;
    await page.click('section[aria-labelledby="trainable-title"] a[href$="train.html"]');
    await page.waitForFunction('document.title === "Train attention on your GPU"');
    await page.close();
  });
});

describe('the sentences', () => {
  test('cat and mat are never together in training; every animal and every place is', () => {
    const below = drawing(5);
    const drawn = trainingBatch(below, 5000);
    expect(drawn.length).toBe(5000);
    expect(drawn.some(({ words }) => words.includes('cat') && words.includes('mat'))).toBe(false);
    expect(drawn.every(({ choice }) => !isHeldOut(choice.animal, choice.place))).toBe(true);
    for (const word of [...ANIMALS, ...PLACES.flat()])
      expect(
        drawn.some(({ words, answer }) => [...words, answer].includes(word)),
        word,
      ).toBe(true);
  });

  test('held-out sentences are of the other pairs, the page’s among them, and the place stands where it is said to', () => {
    const sentences = HELD_OUT_SENTENCES;
    expect(sentences.length).toBe(384);
    for (const { words, place, choice, answer } of [...sentences, sentenceOf(PAGE_SENTENCE)]) {
      expect(isHeldOut(choice.animal, choice.place)).toBe(true);
      expect([words[place], answer]).toEqual(PLACES[choice.place]);
      expect(words.at(-1)).toBe('was');
      expect(words.every((word) => VOCABULARY.includes(word))).toBe(true);
    }
    expect(sentenceOf(PAGE_SENTENCE).words.join(' ')).toBe('the cat sat on the mat because it was');
    expect(new Set(sentences.map(({ place }) => place)).size).toBeGreaterThan(5); // position alone does not tell
  });
});

test.each([
  [['--seed', '1,x'], /--seed is "x": need a whole number from 0 to 4294967295/],
  [['--steps', '0'], /--steps is "0": need a whole number from 1 to 100000/],
  [['--epochs', '1'], /Unknown option '--epochs'/],
])('npm run train -- %j fails and says why', (args, message) => {
  const { status, stderr } = spawnSync(process.execPath, [join(projectRoot, 'demo/train.mjs'), ...args], {
    encoding: 'utf8',
    timeout: HANG_MS,
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/^\s+at /m); // no stack
});
