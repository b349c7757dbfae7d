import { defineConfig } from 'vitest/config';
import { casesPlugin } from './outside.ts';
import { plainSummary } from './plain-summary.ts';

/** The kernels' tests in Node, on the WebGPU of the npm package `webgpu`: see lavapipe.mjs. */
export default defineConfig({
  plugins: [casesPlugin()],
  test: {
    include: [
      'test/kernels/*.test.ts',
      'test/attention.test.ts',
      'test/backward{,-options,-f16}.test.ts',
      'test/cases/*.test.ts',
      'test/variants.test.ts',
      'test/contract/{options,together,bands,not-finite,plan,f16,long}.test.ts',
    ],
    setupFiles: ['test/rig/node-webgpu.ts'],
    reporters: ['default', plainSummary],
    testTimeout: 300_000, // lavapipe takes a minute for some kernels
    pool: 'threads',
    isolate: false,
    fileParallelism: false,
  },
});
