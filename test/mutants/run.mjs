/** `npm run mutants`: each fault of mutants.mjs must make its kernel's tests fail. Arguments: numbers of mutants, default all. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MUTANTS } from './mutants.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const chosen = process.argv.length > 2 ? process.argv.slice(2).map(Number) : MUTANTS.map((_, i) => i);
let survived = 0;
for (const i of chosen) {
  const { what, file } = MUTANTS[i];
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/mutants/vitest.config.ts'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    env: { ...process.env, MUTANT: String(i) },
    encoding: 'utf8',
    timeout: 180_000,
  });
  const output = `${stdout}${stderr}`;
  const isCompiled = !output.includes(`${file}.wgsl:`); // a fault that does not compile proves nothing
  const isCaught = status !== 0 && isCompiled && /^\d+ passed, [1-9]\d* failed/m.test(output);
  if (!isCaught) survived++;
  const why = isCaught ? (output.match(/(?:AssertionError|Error): (.*)/)?.[1] ?? '') : isCompiled ? 'no test failed' : 'does not compile';
  console.log(`${isCaught ? 'caught  ' : 'SURVIVED'} ${String(i).padStart(2)} ${file}: ${what} (${why.slice(0, 100)})`);
}
console.log(`${chosen.length - survived} passed, ${survived} failed`);
process.exit(survived > 0 ? 1 : 0);
