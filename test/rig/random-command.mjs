/** The options of commands that draw random cases: `--cases 3000 --seed 7`, and `--path`, which repeats a case that failed. */
import { parseArgs } from 'node:util';

const string = { type: 'string' };

/** Reads the options into the environment, for the pages: `VITE_FUZZ_CASES` for the prefix `VITE_FUZZ`. Ends the process where one is wrong. */
export function readRandomOptions(command, prefix) {
  try {
    const { values } = parseArgs({ options: { cases: string, seed: string, path: string } });
    const whole = (name, fallback) => {
      const value = Number(values[name] ?? fallback);
      if (!Number.isSafeInteger(value) || value < 1)
        throw new Error(`--${name} is ${JSON.stringify(values[name])}: need a whole number ≥ 1`);
      return String(value);
    };
    process.env[`${prefix}_CASES`] = whole('cases', 1000);
    process.env[`${prefix}_SEED`] = whole('seed', 1 + (Date.now() % 1e9));
    if (values.path) process.env[`${prefix}_PATH`] = values.path;
  } catch (error) {
    console.error(`${error.message}\nnpm run ${command} -- [--cases 1000] [--seed N] [--path where a failure was]`);
    process.exit(1);
  }
}
