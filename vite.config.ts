import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/**
 * Takes the comments out of WGSL that is built into the package. Lines stay where they are and no name changes, so the messages of shader
 * compilers keep their places.
 */
function stripShaderComments(): Plugin {
  const withoutComments = (wgsl: string) => wgsl.replace(/[ \t]*\/\/.*$/gm, '');
  return {
    name: 'strip-shader-comments',
    apply: 'build',
    enforce: 'pre', // before Vite's own ?raw
    load: {
      filter: { id: /\.wgsl\?raw$/ },
      handler: (id) => `export default ${JSON.stringify(withoutComments(readFileSync(id.replace(/\?raw$/, ''), 'utf8')))};`,
    },
  };
}

export default defineConfig({
  plugins: [stripShaderComments()],
  build: {
    target: 'es2022',
    minify: false,
    sourcemap: true,
    lib: { entry: { index: resolve('src/index.ts'), reference: resolve('src/reference/index.ts') }, formats: ['es'] },
    rolldownOptions: { output: { chunkFileNames: '[name].js' } },
  },
});
