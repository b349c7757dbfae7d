import { resolve } from 'node:path';
import { defineConfig, type UserConfig } from 'vite';
import { shaders } from './shaders/parts.ts';

const library: UserConfig = {
  plugins: [shaders({ publishes: true })],
  build: {
    target: 'es2022',
    minify: false,
    sourcemap: true,
    lib: { entry: { index: resolve('src/index.ts'), reference: resolve('src/reference/index.ts') }, formats: ['es'] },
    rolldownOptions: { output: { chunkFileNames: 'chunks/[name].js' } },
  },
};

/** The demo: static files that work from any folder of any host. */
const demo: UserConfig = {
  plugins: [shaders()],
  root: 'demo',
  base: './',
  build: {
    target: 'es2022',
    outDir: '../dist-demo',
    emptyOutDir: true,
    modulePreload: { polyfill: false }, // it would be an inline script
    rolldownOptions: { input: ['demo/index.html', 'demo/train.html', 'demo/benchmark.html'] },
  },
  worker: { format: 'es' },
};

export default defineConfig(({ mode }) => (mode === 'demo' ? demo : library));
