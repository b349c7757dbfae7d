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
const bytes = output.reduce((sum, chunk) => sum + (chunk.type === 'chunk' ? gzipSync(chunk.code, { level: 9 }).length : 0), 0);
console.log(`import { selfAttention }: ${(bytes / 1024).toFixed(1)} KB gzip (at most ${LIMIT / 1024} KB)`);
if (bytes > LIMIT) process.exit(1);
