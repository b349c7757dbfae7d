/** `npm run test:hostile -- --cases 5000 --seed 7`: public functions with arguments that nobody means; `--path` repeats a case that failed. */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const string = { type: 'string' };

function readOptions() {
  const { values } = parseArgs({ options: { cases: string, seed: string, path: string } });
  const whole = (name, fallback) => {
    const value = Number(values[name] ?? fallback);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} is ${JSON.stringify(values[name])}: need a whole number ≥ 1`);
    return String(value);
  };
  return {
    VITE_HOSTILE_CASES: whole('cases', 1000),
    VITE_HOSTILE_SEED: whole('seed', 1 + (Date.now() % 1e9)),
    ...(values.path && { VITE_HOSTILE_PATH: values.path }),
  };
}

let options;
try {
  options = readOptions();
} catch (error) {
  console.error(`${error.message}\nnpm run test:hostile -- [--cases 1000] [--seed N] [--path where a failure was]`);
  process.exit(1);
}
Object.assign(process.env, options); // for the page

process.chdir(fileURLToPath(new URL('../..', import.meta.url)));
const vitest = await startVitest('test', ['test/contract/hostile-random.test.ts'], { project: ['browser'], watch: false });
await vitest.close();
process.exit(process.exitCode ?? 0);
