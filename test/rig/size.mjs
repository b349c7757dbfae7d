/** `npm run size`: what `import { selfAttention } from 'webgpu-attention'` costs in a consumer's bundle, minified and gzipped. Run after the build. */

import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const LIMIT = 20 * 1024;
const entry = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
const id = 'virtual:consumer';
const { output } = await build({
  configFile: false,
  logLevel: 'error',
  plugins: [
    {
      name: 'consumer',
      resolveId: (source) => (source === id ? id : undefined),
      load: (source) =>
        source === id ? `import { selfAttention } from ${JSON.stringify(entry)}; globalThis.use = selfAttention;` : undefined,
    },
  ],
  build: { write: false, minify: true, target: 'es2022', rolldownOptions: { input: id } },
});
const chunks = new Map(output.filter(({ type }) => type === 'chunk').map((chunk) => [chunk.fileName, chunk]));
const gzipped = ({ code }) => gzipSync(code, { level: 9 }).length;

/** What is loaded at once: the entry and what it imports. The shaders' text comes when they are first compiled. */
const atOnce = new Set();
const add = (name) => {
  if (atOnce.has(name)) return;
  atOnce.add(name);
  chunks.get(name).imports.forEach(add);
};
add(output.find(({ isEntry }) => isEntry).fileName);
const bytes = [...atOnce].reduce((sum, name) => sum + gzipped(chunks.get(name)), 0);
const later = [...chunks.values()]
  .filter(({ fileName }) => !atOnce.has(fileName))
  .map((chunk) => `${chunk.name} ${(gzipped(chunk) / 1024).toFixed(1)}`);
console.log(
  `import { selfAttention }: ${(bytes / 1024).toFixed(1)} KB gzip (at most ${LIMIT / 1024} KB); on demand, in KB: ${later.join(', ')}`,
);
if (!(bytes <= LIMIT)) process.exit(1);
