/** `npm run bench:page`: how quickly the pages answer, as any static host would serve them, in headless Chrome. Exit code 1 when a bar is missed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, runnerImport } from 'vite';
import { root } from './in-browser.mjs';

const LIMIT_MS = 10 * 60_000; // for each wait: after this something hangs

/**
 * Milliseconds, on an idle machine: what holds a page up for longer is felt. A first number is waited for without another thought up to a second, and with
 * attention up to ten, where a page has kernels to compile or something to measure first. Source: J. Nielsen, Usability Engineering, 1993, section 5.5.
 */
const LONGEST_TASK = 100;
const SOON = 1000;
const PATIENTLY = 10_000;

/**
 * What a visitor does on each page. `number` is where its first computed number stands: on the benchmark's page one has to be asked for, so it is
 * counted from the press. `use` is what the page must stay responsive in: Chrome records it.
 */
const PAGES = {
  learn: {
    path: 'index.html',
    number: '#scores tbody td',
    bar: SOON,
    use: async (page) => {
      await page.waitForSelector('#measure[aria-disabled=false]'); // its last step has been drawn
      for (const place of [5, 1]) await page.click(`#query-choices label:nth-child(${place})`);
      await page.waitForFunction('document.documentElement.dataset.drawn > 1');
    },
  },
  train: {
    path: 'train.html',
    number: '#bars tbody td',
    bar: PATIENTLY,
    use: async (page) => {
      await page.waitForFunction('document.documentElement.dataset.drawn');
      await page.click('#play');
      await page.waitForFunction('document.querySelector("#progress").value >= 60'); // a record of all steps takes long to read
      await page.click('#play');
      await page.waitForFunction('document.documentElement.dataset.drawn > 1');
    },
  },
  benchmark: {
    path: 'benchmark.html',
    number: '#table tbody td',
    bar: PATIENTLY,
    press: '#start',
    use: async (page) => {
      await page.waitForSelector('#start:enabled');
    },
  },
};

const USAGE = `npm run bench:page -- [options]
  --pages ${Object.keys(PAGES).join(',')}   default all`;

async function main() {
  const names = readOptions();
  const rig = {};
  for (const name of ['browser', 'static-server', 'tasks'])
    Object.assign(rig, (await runnerImport(join(root, `test/rig/${name}.ts`))).module);
  const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-demo-'));
  const built = { outDir: folder, emptyOutDir: true };
  await build({ root: join(root, 'demo'), configFile: join(root, 'vite.config.ts'), mode: 'demo', logLevel: 'error', build: built });
  const server = await rig.serve({ '/': folder });
  const browser = await rig.launchChrome({ asUsers: true, protocolTimeout: LIMIT_MS });
  try {
    const figures = [];
    for (const name of names) figures.push(await measure(browser, `${server.origin}/${PAGES[name].path}`, name, rig));
    print(figures);
    if (!figures.every(holds)) process.exitCode = 1;
  } finally {
    await rig.endBrowser(browser);
    await server.close();
    rmSync(folder, { recursive: true });
  }
}

function readOptions() {
  const known = Object.keys(PAGES);
  let values;
  try {
    ({ values } = parseArgs({ options: { pages: { type: 'string' }, help: { type: 'boolean' } } }));
  } catch (error) {
    throw new Error(`${error.message}\n${USAGE}`);
  }
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const names = values.pages?.split(',') ?? known;
  const wrong = names.find((name) => !known.includes(name));
  if (wrong !== undefined) throw new Error(`--pages has ${JSON.stringify(wrong)}: known are ${known.join(', ')}\n${USAGE}`);
  return names;
}

async function measure(browser, address, name, { recordTasks, taskTimes }) {
  const { number, press, use } = PAGES[name];
  const page = await browser.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  await page.setViewport({ width: 1280, height: 900 });
  await page.evaluateOnNewDocument(watchNumber, number);
  await recordTasks(page);
  await page.goto(address);
  let begun = 0;
  if (press) begun = await page.evaluate(pressAndTell, press);
  await page.waitForFunction('window.firstNumber !== undefined');
  await use(page);
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Number.NaN);
  const seen = await page.evaluate('window.firstNumber');
  const tasks = await taskTimes(page);
  await page.close();
  if (tasks.length === 0) throw new Error(`${address}: Chrome recorded no task of the page`);
  const longest = (what) => Math.max(...tasks.map((task) => task[what]));
  return {
    name,
    from: press ? `a press on ${press}` : 'first paint',
    paint,
    number: seen - (press ? begun : paint),
    longest: longest('processorMs'),
    wall: longest('wallMs'),
  };
}

/** In the page, before its scripts: keeps when a digit first stood in one of the elements. */
function watchNumber(selector) {
  const look = () => {
    if (![...document.querySelectorAll(selector)].some((node) => /\d/.test(node.textContent))) return;
    observer.disconnect();
    window.firstNumber = performance.now();
  };
  const observer = new MutationObserver(look);
  observer.observe(document, { childList: true, subtree: true, characterData: true });
}

/** In the page. @returns when */
function pressAndTell(selector) {
  const now = performance.now();
  document.querySelector(selector).click();
  return now;
}

const holds = ({ name, longest, number }) => longest <= LONGEST_TASK && number <= PAGES[name].bar;

function print(figures) {
  const time = (value) => `${value.toFixed(0)} ms`;
  const head = [
    'page',
    'first paint',
    'first number',
    'bar',
    'counted from',
    'longest task',
    'bar',
    'the same on the clock',
    'within the bars',
  ];
  const lines = figures.map((row) => [
    ...[row.name, time(row.paint), time(row.number), time(PAGES[row.name].bar), row.from],
    ...[time(row.longest), time(LONGEST_TASK), time(row.wall), holds(row) ? 'yes' : 'NO'],
  ]);
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i].length)));
  for (const line of [head, ...lines])
    console.log(
      line
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  console.log('Longest task: processor time of the main thread. Other processes add to what the clock shows.');
}

main().catch((error) => {
  console.error(`npm run bench:page: ${error.message}`);
  process.exit(1);
});
