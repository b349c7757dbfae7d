/**
 * `npm run bits -- --before <commit> [--problems 200] [--seed 1]`: random problems through the package of a commit and through this one, on one device, every
 * tier, forward and backward. The outputs must be the same bit for bit. For changes that are to change no number.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build, runnerImport } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values } = parseArgs({ options: { before: { type: 'string' }, problems: { type: 'string' }, seed: { type: 'string' } } });
const [problems, seed] = [values.problems ?? '200', values.seed ?? '1'].map(Number);
if (!values.before || !(problems >= 1) || !Number.isSafeInteger(seed))
  throw new Error('need --before COMMIT, and numbers for --problems and --seed');

const rig = {};
for (const name of ['guard', 'browser', 'static-server', 'tiers'])
  Object.assign(rig, (await runnerImport(join(root, `test/rig/${name}.ts`))).module);
rig.endWithCommand();

const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-bits-'));
const sources = join(folder, 'source');
let server;
let browser;
try {
  execFileSync('git', ['worktree', 'add', '--quiet', '--detach', sources, values.before], { cwd: root });
  symlinkSync(join(root, 'node_modules'), join(sources, 'node_modules'));
  const pack = async (from, to) => {
    process.chdir(from); // a configuration names its entries by relative paths
    await build({ root: from, logLevel: 'error', build: { outDir: join(folder, to), emptyOutDir: true } });
  };
  await pack(sources, 'before');
  await pack(root, 'after');
  const page = '<!doctype html><title>bits</title><link rel="icon" href="data:,">';
  server = await rig.serve({
    '/before/': join(folder, 'before'),
    '/after/': join(folder, 'after'),
    '/test/': join(root, 'test/bits'),
    '/': page,
  });
  browser = await rig.launchChrome();
  const tab = await browser.newPage();
  tab.setDefaultTimeout(0);
  await tab.goto(server.origin);
  const isDotted = !existsSync(join(sources, 'src/kernels/variants.ts')); // until this file variants were { 'flash_decode.SPLITS': 2 }
  await tab.evaluate(async (...args) => (await import('/test/compare.js')).open(...args), isDotted);
  let [compared, failed, kernels] = [0, 0, []];
  for (let number = 0; number < problems; number++) {
    const found = await tab.evaluate(
      async (...args) => (await import('/test/compare.js')).compareBuilds(...args),
      number,
      seed,
      rig.GENERAL,
    );
    for (const difference of found.different) console.log(`problem ${number}: ${difference}`);
    compared += found.compared;
    failed += found.different.length;
    kernels = found.kernels;
    if (number % 20 === 19) console.log(`${number + 1} of ${problems} problems`);
  }
  console.log(`kernels: ${kernels.join(', ')}`);
  console.log(`${problems} problems, ${compared} outputs, before ${values.before}`);
  console.log(`${compared - failed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
} finally {
  if (browser) await rig.endBrowser(browser);
  await server?.close();
  execFileSync('git', ['worktree', 'remove', '--force', sources], { cwd: root });
  rmSync(folder, { recursive: true, force: true });
}
