/** `npm run test:rig`: each of these faults must end a test run with exit status 1 and a clear message, in bounded time. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const LIMIT_MS = 120_000;
const FAULTS = [
  { name: 'hung-dispatch', message: /timed out in 5000ms|no test progress for 15 s/ },
  { name: 'endless-loop', message: /no test progress for 15 s: ending the browser/ },
  { name: 'never-resolves', message: /no test progress for 15 s: ending the browser/ },
  { name: 'crashed-tab', message: /\[browser\] Page crashed/ },
];

(await runnerImport(fileURLToPath(new URL('../guard.ts', import.meta.url)))).module.endWithCommand();
let failed = 0;
for (const { name, message } of FAULTS) {
  const start = Date.now();
  const { code, output } = await runTest(name);
  const seconds = Math.round((Date.now() - start) / 1000);
  const isRight = code === 1 && message.test(output) && /^\d+ passed, [1-9]\d* failed/m.test(output);
  if (!isRight) failed++;
  console.log(`${isRight ? 'ok    ' : 'FAILED'} ${name}: exit ${code} after ${seconds} s, ${message.exec(output)?.[0] ?? `no ${message}`}`);
  if (!isRight) console.log(output);
}
console.log(`${FAULTS.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

function runTest(name) {
  const config = fileURLToPath(new URL('vitest.config.ts', import.meta.url));
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--config', config, '--root', root, name], {
      cwd: root,
      env: process.env.npm_lifecycle_event ? process.env : { ...process.env, ATTENTION_COMMAND: String(process.pid) }, // see guard.ts
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
    const timer = setTimeout(() => child.kill('SIGTERM'), LIMIT_MS);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code: code ?? signal, output });
    });
  });
}
