/** How responsive the pages are is a figure of `npm run bench:page`; here is that it measures. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../rig/find-chrome.ts';
import { HANG_MS } from '../rig/limits.ts';
import { recordTasks, taskTimes } from '../rig/tasks.ts';
import { DemoSite } from './demo-site.ts';

const benchPage = (...args: string[]) =>
  spawnSync(process.execPath, [join(projectRoot, 'demo/bench-page.mjs'), ...args], {
    encoding: 'utf8',
    cwd: projectRoot,
    timeout: HANG_MS,
  });

test('a task that holds the main thread up is found, with its length', async () => {
  const site = await DemoSite.open();
  const { page } = await site.visit('benchmark.html');
  await recordTasks(page);
  const held = (await page.evaluate(
    `new Promise((done) => setTimeout(() => {
      const start = performance.now();
      while (performance.now() < start + 300);
      const held = performance.now() - start;
      setTimeout(() => done(held), 50); // in a later task: what the trace's end cuts has no length
    }))`,
  )) as number;
  const longest = Math.max(...(await taskTimes(page)).map(({ wallMs }) => wallMs));
  await site.close();
  expect(longest).toBeGreaterThanOrEqual(Math.floor(held));
});

test('it prints the figures of a page, and its exit status says whether they are within the bars', () => {
  const { status, stdout } = benchPage('--pages', 'learn');
  const [, verdict] = stdout.match(/^learn +\d+ ms +\d+ ms +1000 ms +first paint +\d+ ms +100 ms +\d+ ms +(yes|NO)$/m) ?? [];
  expect(verdict, stdout).toBeDefined();
  expect(status).toBe(verdict === 'yes' ? 0 : 1);
});

test.each([
  [['--pages', 'learn,none'], /--pages has "none": known are learn, train, benchmark/],
  [['--fast'], /Unknown option '--fast'/],
])('%j is an error, before a browser starts', (args, message) => {
  const { status, stderr } = benchPage(...args);
  expect(status).toBe(1);
  expect(stderr).toMatch(message);
  expect(stderr).not.toContain('[browser]');
});
