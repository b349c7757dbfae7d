import { defineConfig } from 'vitest/config';
import { shaders } from '../../shaders/parts.ts';
import { casesPlugin } from './outside.ts';
import { plainSummary } from './plain-summary.ts';

/** The kernels' tests in Node, on the WebGPU of the npm package `webgpu`: see lavapipe.mjs. */
export default defineConfig({
  plugins: [shaders(), casesPlugin()],
  test: {
    include: [
      'test/kernels/*.test.ts',
      'test/cases/*.test.ts',
      'test/contract/{options,together,bands,not-finite,f16,long}.test.ts',
      'test/plan/plan.test.ts',
    ],
    setupFiles: ['test/rig/node-webgpu.ts'],
    reporters: ['default', plainSummary],
    testTimeout: 900_000, // lavapipe takes minutes to compile some kernels with 16 lanes
    pool: 'threads',
    isolate: false,
    fileParallelism: false,
  },
});
