/**
 * `npm run test:browsers`: all tests in the bundled headless shell, then once more in a whole Chrome those that people's browsers differ in, the pages
 * and the package. One that is missing is installed where that is allowed (apt-get, as root). The last line is the sum of the runs.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const APT_MS = 10 * 60_000;
const SUMMARY = /^(\d+) passed, (\d+) failed, (\d+) skipped$/gm;

const root = fileURLToPath(new URL('../..', import.meta.url));
const { module: chromes } = await runnerImport(join(root, 'test/rig/find-chrome.ts'));
(await runnerImport(join(root, 'test/rig/guard.ts'))).module.endWithCommand();
const { PUPPETEER_EXECUTABLE_PATH: named, ...env } = process.env;
if (!env.npm_lifecycle_event) env.ATTENTION_COMMAND = String(process.pid); // without which the tests end: see guard.ts
const total = { passed: 0, failed: 0, skipped: 0 };

console.log('All tests, in the bundled headless shell');
await runTests([], { ...env, ATTENTION_CHROME: 'bundled' });
const whole = named ?? wholeChrome();
console.log(whole ? `The pages and the package, in ${whole}` : 'The pages and the package in a whole Chrome: skipped, there is none');
const OTHERS = ['test/node', 'test/demo', 'test/commands/ending.test.ts'];
if (whole) await runTests(OTHERS, { ...env, PUPPETEER_EXECUTABLE_PATH: whole });
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 ? 1 : 0;

/** Adds what a run of the tests counts to the total. One that ends without a count has failed, as has one that fails all the same. */
async function runTests(args, environment) {
  const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...args], {
    cwd: root,
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
    process.stdout.write(chunk);
  });
  const status = await new Promise((done) => child.on('close', done));
  const [, passed, failed, skipped] = [...output.matchAll(SUMMARY)].at(-1) ?? ['', 0, 0, 0];
  total.passed += Number(passed);
  total.failed += Number(failed) || (status === 0 ? 0 : 1);
  total.skipped += Number(skipped);
}

function wholeChrome() {
  const found = chromes.installed();
  if (found || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return found?.executablePath;
  console.log('There is no whole Chrome here: installing Debian\u2019s');
  const apt = (...args) =>
    spawnSync('apt-get', args, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: APT_MS,
    }).status === 0;
  const install = () => apt('install', '-y', '--no-install-recommends', 'chromium');
  if (!install() && apt('update')) install();
  return chromes.installed()?.executablePath;
}
