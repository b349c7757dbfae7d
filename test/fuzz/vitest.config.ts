import { defineConfig } from 'vitest/config';
import { shaders } from '../../shaders/parts.ts';
import { plainSummary } from '../rig/plain-summary.ts';
import { puppeteerProvider, stallWatchdog } from '../rig/vitest-puppeteer.ts';
import { claimProblem } from './claim.ts';
import { limitOf } from './limit.ts';
import { findOnnxruntime, runOnnxAttention } from './onnxruntime.ts';

export default defineConfig({
  plugins: [shaders(), stallWatchdog(60_000 + limitOf(Number(process.env.VITE_FUZZ_CASES ?? 100)))],
  test: {
    root: '.',
    include: ['test/fuzz/*.test.ts'],
    maxWorkers: 2, // page-0 and page-1 at once
    reporters: ['default', plainSummary],
    browser: {
      ...{ enabled: true, headless: true, isolate: false, screenshotFailures: false, provider: puppeteerProvider() },
      commands: { claimProblem, findOnnxruntime, runOnnxAttention },
      instances: [{ browser: (process.env.BROWSER ?? 'chrome') as 'chromium' }],
    },
  },
});
