/**
 * `npm run fuzz -- --cases 3000 --seed 7`: random problems in headless Chrome; `--path` repeats one that failed.
 * The second oracle, onnxruntime, is large and needed here alone: it is installed when this first runs, in a folder of its own.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startVitest } from 'vitest/node';
import { readRandomOptions } from '../rig/random-command.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
readRandomOptions('fuzz', 'VITE_FUZZ');

const npm = (stdio, ...args) =>
  spawnSync('npm', args, {
    cwd: fileURLToPath(new URL('onnxruntime', import.meta.url)),
    stdio: ['ignore', stdio, stdio],
    shell: process.platform === 'win32',
    timeout: 600_000,
  }).status;
const isInstalled = () => npm('ignore', 'ls') === 0; // in the versions of package.json
if (!isInstalled() && npm('inherit', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1') !== 0)
  console.error('onnxruntime could not be installed (see above): the reference judges alone');

process.chdir(root);
const vitest = await startVitest('test', [], { config: 'test/fuzz/vitest.config.ts', watch: false }); // in this process, so that whatever ends it ends that too
await vitest.close();
process.exit(process.exitCode ?? 0);
