/** `npm run fuzz -- --cases 3000 --seed 7`: random problems in headless Chrome; `--path` repeats one that failed. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));
const string = { type: 'string' };
const { values } = parseArgs({ options: { cases: string, seed: string, path: string } });
const whole = (name, fallback) => {
  const value = Number(values[name] ?? fallback);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} is ${JSON.stringify(values[name])}: need a whole number ≥ 1`);
  return String(value);
};
const env = {
  ...process.env,
  VITE_FUZZ_CASES: whole('cases', 1000),
  VITE_FUZZ_SEED: whole('seed', 1 + (Date.now() % 1e9)),
  ...(values.path && { VITE_FUZZ_PATH: values.path }),
};
const { status } = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/fuzz/vitest.config.ts'], {
  cwd: root,
  env,
  stdio: 'inherit',
});
process.exit(status ?? 1);
