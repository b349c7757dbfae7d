import { defineConfig } from 'vitest/config';
import { shaders } from '../../../shaders/parts.ts';
import { plainSummary } from '../plain-summary.ts';
import { puppeteerProvider, stallWatchdog } from '../vitest-puppeteer.ts';

/** The rig of the real suite, with a shorter patience. */
export default defineConfig({
  plugins: [shaders(), stallWatchdog(15_000)],
  test: {
    include: ['test/rig/faults/*.test.ts'],
    reporters: ['default', plainSummary],
    browser: {
      enabled: true,
      headless: true,
      isolate: false,
      screenshotFailures: false,
      provider: puppeteerProvider(),
      instances: [{ browser: 'chrome' as 'chromium' }],
    },
  },
});
