import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { defineConfig, type Plugin, type UserConfig } from 'vite';

/**
 * Takes comments and indentation out of WGSL that is built into the package. Lines stay where they are and no name changes, so the messages
 * of shader compilers keep their lines.
 */
function stripShaders(): Plugin {
  const strip = (wgsl: string) => wgsl.replace(/[ \t]*(\/\/.*)?$/gm, '').replace(/^[ \t]+/gm, '');
  return {
    name: 'strip-shaders',
    apply: 'build',
    enforce: 'pre', // before Vite's own ?raw
    load: {
      filter: { id: /\.wgsl\?raw$/ },
      handler: (id) => `export default ${JSON.stringify(strip(readFileSync(id.replace(/\?raw$/, ''), 'utf8')))};`,
    },
  };
}

const library: UserConfig = {
  plugins: [stripShaders()],
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
  plugins: [stripShaders()],
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
