import { defineConfig } from 'vitest/config';
import { shaders } from './shaders/parts.ts';
import { HeaviestFirst } from './test/rig/heaviest-first.ts';
import { HANG_MS } from './test/rig/limits.ts';
import { casesPlugin } from './test/rig/outside.ts';
import { OTHER_TESTS } from './test/rig/page-tests.ts';
import { plainSummary } from './test/rig/plain-summary.ts';
import { puppeteerProvider, stallWatchdog } from './test/rig/vitest-puppeteer.ts';

export default defineConfig({
  plugins: [shaders(), stallWatchdog(1.5 * HANG_MS), casesPlugin()], // the watchdog waits longer than any test's own timeout
  test: {
    reporters: ['default', plainSummary],
    sequence: { sequencer: HeaviestFirst },
    testTimeout: HANG_MS,
    hookTimeout: HANG_MS,
    expect: { poll: { timeout: HANG_MS } },
    coverage: { include: ['src/**/*.ts'] },
    projects: [
      {
        extends: true,
        test: {
          name: 'browser',
          maxWorkers: 2, // pages, each in a browser of its own
          sequence: { groupOrder: 0 },
          include: ['test/**/*.test.ts'],
          exclude: OTHER_TESTS.map((folder) => `test/${folder}/**`),
          browser: {
            enabled: true,
            headless: true,
            isolate: false, // files share a page: cheaper, and a hung dispatch cannot block the teardown of an iframe
            screenshotFailures: false,
            connectTimeout: HANG_MS, // the launcher may try several sets of flags
            provider: puppeteerProvider(),
            instances: [{ browser: (process.env.BROWSER ?? 'chrome') as 'chromium' }],
          },
        },
      },
      {
        extends: true,
        test: {
          name: 'node',
          include: ['test/node/**/*.test.ts'],
          environment: 'node',
          maxWorkers: 2, // what a group's projects must agree in
          sequence: { groupOrder: 1 }, // after the pages, which keep two cores busy
        },
      },
      {
        extends: true,
        test: {
          name: 'demo',
          include: ['test/demo/**/*.test.ts'],
          environment: 'node',
          globalSetup: 'test/demo/build-demo.ts',
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'commands', // of `npm run test:commands`, which takes minutes: `npm test` leaves it out
          include: ['test/commands/**/*.test.ts'],
          environment: 'node',
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
