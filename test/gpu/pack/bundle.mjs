/** Bundles the conductor, the sections and the project's tests, with everything that they import, into plain modules for Node. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, runnerImport } from 'vite';

const here = fileURLToPath(new URL('..', import.meta.url));
const PROGRAMS = [
  'conductor/main.ts',
  ...['probe', 'conform', 'bench', 'jax', 'unsafe', 'tune'].map((name) => `sections/${name}.ts`),
  ...['suites', 'worker'].map((name) => `suites/${name}.ts`),
];

/** A plugin that gives tests the part of Vitest which they need. */
const smallVitest = {
  name: 'small-vitest',
  enforce: 'pre',
  resolveId: (source) => (source === 'vitest' ? join(here, 'suites/vitest.ts') : undefined),
};

/** The tests that need nothing but WebGPU: those that `npm test` runs in pages, without those that need the page itself. */
async function testsOf(root) {
  const { module } = await runnerImport(join(root, 'test/rig/page-tests.ts'));
  const tests = readdirSync(join(root, 'test'), { recursive: true }).map(String);
  const inPages = tests.filter((name) => name.endsWith('.test.ts') && !module.OTHER_TESTS.includes(name.split('/')[0]));
  const needsPage = (name) => /\b(document|window)\./.test(readFileSync(join(root, 'test', name), 'utf8'));
  console.log(`Left out, as they need a page: ${inPages.filter(needsPage).join(', ') || 'none'}`);
  return inPages.filter((name) => !needsPage(name));
}

/** @param cases the plugin of the outside test cases */
export async function bundle(root, outDir, cases) {
  const { module: parts } = await runnerImport(join(root, 'shaders/parts.ts'));
  const withoutEnding = (file) => file.replace(/\.ts$/, '');
  const programs = PROGRAMS.map((file) => [withoutEnding(file.split('/').at(-1)), join(here, file)]);
  const tests = (await testsOf(root)).map((file) => [`tests/${withoutEnding(file)}`, join(root, 'test', file)]);
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    define: { 'import.meta.env.VITE_FAULTY': 'undefined' },
    plugins: [smallVitest, parts.shaders({ strips: false }), cases],
    ssr: { noExternal: true, target: 'node' },
    build: {
      ssr: true,
      outDir: relative(root, outDir),
      emptyOutDir: true,
      target: 'node20',
      minify: false,
      rolldownOptions: {
        input: Object.fromEntries([...programs, ...tests]),
        output: { format: 'es', entryFileNames: '[name].mjs', chunkFileNames: 'chunks/[name]-[hash].mjs' },
      },
    },
  });
}
