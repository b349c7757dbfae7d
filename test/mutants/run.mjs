/** `npm run mutants`: each fault of mutants.mjs must make its kernel's tests fail. Arguments: numbers of mutants, default all. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTANTS, mutate } from './mutants.mjs';

const AT_ONCE = 2; // most of the time goes into compiling shaders, which takes one core

const root = fileURLToPath(new URL('../..', import.meta.url));
const chosen = process.argv.length > 2 ? process.argv.slice(2).map(Number) : MUTANTS.map((_, i) => i);
const wrong = process.argv.slice(2).find((text) => !MUTANTS[Number(text)]);
if (wrong !== undefined) {
  console.error(`no mutant ${wrong}: need numbers from 0 to ${MUTANTS.length - 1}`);
  process.exit(1);
}
const waiting = [...chosen];
for (const i of chosen) mutate(readFileSync(join(root, `shaders/${MUTANTS[i].file}.wgsl`), 'utf8'), MUTANTS[i]); // throws where nothing changes
let survived = 0;
const { FORCE_COLOR: _, ...plain } = process.env; // colours would stand between the words that are looked for

/** Runs the tests of a mutant's kernel. @returns the exit status, null where the limit ended it, and what was printed */
function runTests(mutant) {
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/mutants/vitest.config.ts'];
  const options = { cwd: root, env: { ...plain, MUTANT: String(mutant), NO_COLOR: '1' }, timeout: 180_000, maxBuffer: 2 ** 26 };
  return new Promise((resolve) => {
    execFile(process.execPath, args, options, (error, stdout, stderr) =>
      resolve({ status: error ? error.code : 0, output: stdout + stderr }),
    );
  });
}

async function work() {
  for (let i = waiting.shift(); i !== undefined; i = waiting.shift()) {
    const { what, file } = MUTANTS[i];
    const begun = performance.now();
    const { status, output } = await runTests(i);
    const isCompiled = !output.includes(`${file}.wgsl:`); // a fault that does not compile proves nothing
    const isCaught = status !== 0 && isCompiled && output.includes('AssertionError'); // not a test that ran out of time, nor a browser that did not start
    if (!isCaught) survived++;
    const why = isCaught
      ? (output.match(/AssertionError: (.*)/)?.[1] ?? '')
      : isCompiled
        ? `no assertion failed, exit status ${status}`
        : 'does not compile';
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    console.log(`${isCaught ? 'caught  ' : 'SURVIVED'} ${String(i).padStart(3)} ${file}: ${what} (${why.slice(0, 100)}), ${seconds} s`);
  }
}

await Promise.all(Array.from({ length: AT_ONCE }, work));
console.log(`${chosen.length - survived} passed, ${survived} failed`);
process.exit(survived > 0 ? 1 : 0);
