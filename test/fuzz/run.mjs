/**
 * `npm run fuzz -- --cases 3000 --seed 7`: random problems in headless Chrome; `--path` repeats one that failed.
 * The second oracle, onnxruntime, is large and needed here alone: it is installed when this first runs, in a folder of its own.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const root = fileURLToPath(new URL('../..', import.meta.url));
const string = { type: 'string' };

function readOptions() {
  const { values } = parseArgs({ options: { cases: string, seed: string, path: string } });
  const whole = (name, fallback) => {
    const value = Number(values[name] ?? fallback);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} is ${JSON.stringify(values[name])}: need a whole number ≥ 1`);
    return String(value);
  };
  return {
    VITE_FUZZ_CASES: whole('cases', 1000),
    VITE_FUZZ_SEED: whole('seed', 1 + (Date.now() % 1e9)),
    ...(values.path && { VITE_FUZZ_PATH: values.path }),
  };
}

let options;
try {
  options = readOptions();
} catch (error) {
  console.error(`${error.message}\nnpm run fuzz -- [--cases 1000] [--seed N] [--path where a failure was]`);
  process.exit(1);
}
Object.assign(process.env, options); // for the pages, and Vitest's configuration

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
