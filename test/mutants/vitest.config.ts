import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { shaders, wholeShader } from '../../shaders/parts.ts';
import { HANG_MS } from '../rig/limits.ts';
import { casesPlugin } from '../rig/outside.ts';
import { plainSummary } from '../rig/plain-summary.ts';
import { puppeteerProvider, stallWatchdog } from '../rig/vitest-puppeteer.ts';
import { MUTANTS, mutate } from './mutants.mjs';

const mutant = MUTANTS[Number(process.env.MUTANT)]!;
/** Kernels that need no feature: suites run them on the default device, and not all on the other. */
const PLAIN = ['scores', 'softmax', 'context', 'flash_forward', 'flash_decode', 'flash_backward_dq', 'flash_backward_dkv'];

/** What a fault is named after, or its kernel: in suites whose tests each compile variants of their own it is looked for where a test's name has it. */
const SUBJECTS = [
  'causal',
  'window',
  'band',
  'softcap',
  'mask',
  'lengths',
  'alibi',
  'sink',
  'dropout',
  'exclude',
  'sees no key',
  'query heads',
];
const named = `${mutant.file} ${mutant.what}`.toLowerCase();
const isSelective = mutant.tests.some((file) => /(options|flash_decode)\.test\.ts$/.test(file));
const subjects = isSelective ? SUBJECTS.filter((name) => named.includes(name)) : [];
const words = [...subjects, ...(PLAIN.includes(mutant.file) ? ['default device'] : [])];

/** Hands out one shader with its fault. */
const faulty: Plugin = {
  name: 'faulty-shader',
  enforce: 'pre',
  load(id) {
    if (!id.endsWith(`/${mutant.file}.wgsl?raw`)) return undefined;
    return `export default ${JSON.stringify(mutate(wholeShader(id.replace(/\?raw$/, '')), mutant))};`;
  },
};

export default defineConfig({
  plugins: [faulty, shaders(), stallWatchdog(1.5 * HANG_MS), casesPlugin()],
  test: {
    env: { VITE_FAULTY: mutant.file },
    include: mutant.tests,
    reporters: ['default', plainSummary],
    bail: 1,
    testNamePattern: new RegExp(`^${words.map((word) => `(?=.*${word})`).join('')}`, 'i'),
    testTimeout: HANG_MS,
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
