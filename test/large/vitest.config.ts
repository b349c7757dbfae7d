/** `npm run test:large`: sizes that take a software device minutes. */
import { defineConfig } from 'vitest/config';
import { shaders } from '../../shaders/parts.ts';
import { plainSummary } from '../rig/plain-summary.ts';
import { puppeteerProvider, stallWatchdog } from '../rig/vitest-puppeteer.ts';

const LIMIT_MS = 600_000;

export default defineConfig({
  plugins: [shaders(), stallWatchdog(1.5 * LIMIT_MS)],
  test: {
    root: '.',
    include: ['test/large/*.test.ts'],
    testTimeout: LIMIT_MS,
    hookTimeout: LIMIT_MS,
    reporters: ['default', plainSummary],
    browser: {
      ...{ enabled: true, headless: true, isolate: false, screenshotFailures: false, provider: puppeteerProvider() },
      instances: [{ browser: (process.env.BROWSER ?? 'chrome') as 'chromium' }],
    },
  },
});
