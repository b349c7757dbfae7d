/** `npm run gpu:run -- [options]`: runs the pack of `npm run gpu:pack` on this machine, as `bash gpu-pack/run.sh` does elsewhere. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));
const GRACE_MINUTES = 3; // to unpack, and to end

const load = async (file) => (await runnerImport(join(root, file))).module;
const { endWithCommand } = await load('test/rig/guard.ts');
const { readOptions } = await load('test/gpu/conductor/options.ts');

let options;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  console.error(`npm run gpu:run: ${error.message}`);
  process.exit(2);
}
const script = join(root, 'gpu-pack/run.sh');
if (!existsSync(script)) {
  console.error('There is no pack: `npm run gpu:pack` makes it.');
  process.exit(1);
}

const child = spawn('bash', [script, ...process.argv.slice(2)], { stdio: 'inherit' });
process.on('exit', () => child.kill()); // it tells what it has so far, and ends what it started
endWithCommand();
const timer = setTimeout(() => child.kill(), 60_000 * (options.minutes + GRACE_MINUTES));
child.on('error', (error) => {
  console.error(`bash could not be started: ${error.message}`);
  process.exit(1);
});
child.on('close', (code, signal) => {
  clearTimeout(timer);
  process.exit(code ?? 128 + constants.signals[signal]);
});
