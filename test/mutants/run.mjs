/** `npm run mutants`: each fault of mutants.mjs must make its kernel's tests fail. Arguments: numbers of mutants, default all. */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';
import { MUTANTS, mutate } from './mutants.mjs';

const AT_ONCE = 2; // most of the time goes into compiling shaders, which takes one core
const LIMIT_MS = 900_000; // against a hang: every test has a limit of its own

const root = fileURLToPath(new URL('../..', import.meta.url));
const chosen = process.argv.length > 2 ? process.argv.slice(2).map(Number) : MUTANTS.map((_, i) => i);
const wrong = process.argv.slice(2).find((text) => !MUTANTS[Number(text)]);
if (wrong !== undefined) {
  console.error(`no mutant ${wrong}: need numbers from 0 to ${MUTANTS.length - 1}`);
  process.exit(1);
}
(await runnerImport(join(root, 'test/rig/guard.ts'))).module.endWithCommand();
const waiting = [...chosen];
const { module: parts } = await runnerImport(join(root, 'shaders/parts.ts'));
for (const i of chosen) mutate(parts.wholeShader(join(root, `shaders/${MUTANTS[i].file}.wgsl`)), MUTANTS[i]); // throws where nothing changes
let survived = 0;
const { FORCE_COLOR: _, ...plain } = process.env; // colours would stand between the words that are looked for

function startWorker() {
  const worker = fork(join(root, 'test/mutants/worker.mjs'), { cwd: root, env: { ...plain, NO_COLOR: '1' }, silent: true });
  worker.stdout.resume(); // nobody reads them: the answer has what counts
  worker.stderr.resume();
  return worker;
}

/** Runs the tests of a mutant's kernel. @returns the exit status, null where the worker ended or the limit ended it, and what was printed */
function runTests(worker, mutant) {
  return new Promise((resolve) => {
    const limits = [
      setTimeout(() => worker.kill(), LIMIT_MS), // its browser is ended with it
      setTimeout(() => worker.kill('SIGKILL'), LIMIT_MS + 10_000),
    ];
    const end = (answer) => {
      limits.forEach(clearTimeout);
      worker.off('message', end);
      worker.off('exit', endOfWorker);
      resolve(answer);
    };
    const endOfWorker = () => end({ status: null, output: '' });
    worker.on('message', end);
    worker.on('exit', endOfWorker);
    worker.send(mutant);
  });
}

async function runWaiting() {
  let worker = startWorker();
  for (let i = waiting.shift(); i !== undefined; i = waiting.shift()) {
    const { what, file } = MUTANTS[i];
    const begun = performance.now();
    const { status, output } = await runTests(worker, i);
    if (status === null) worker = startWorker();
    const isCompiled = !/\.wgsl:\d+:\d+ /.test(output); // a fault that does not compile proves nothing
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

await Promise.all(Array.from({ length: AT_ONCE }, runWaiting));
console.log(`${chosen.length - survived} passed, ${survived} failed`);
process.exit(survived > 0 ? 1 : 0);
