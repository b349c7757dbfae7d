/**
 * `npm run test:lavapipe`: the kernels' tests in Node on lavapipe, with subgroups of 4, 8 and 16 lanes and with f16. Arguments: the widths, default all.
 * What is compiled is kept for the next run, for each width apart: lavapipe does not tell them apart.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { runnerImport } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { module: outside } = await runnerImport(join(root, 'test/rig/outside.ts'));
if (!outside.labFolder) {
  console.log('Skipped: set GPU_LAB to the folder of the GPU lab.\n0 passed, 0 failed, 1 skipped');
  process.exit(0);
}
const tools = outside.labFolder;
delete process.env.GPU_LAB; // from here on it is where the lab unpacks itself
const setup = spawnSync('bash', [join(tools, 'setup.sh')], { stdio: ['ignore', 'ignore', 'inherit'], timeout: 600_000 });
if (setup.status !== 0) throw new Error(`The lab could not be set up: exit status ${setup.status}`);
const { onTarget } = await import(pathToFileURL(join(tools, 'targets.mjs')));

(await runnerImport(join(root, 'test/rig/guard.ts'))).module.endWithCommand();
let child;
process.on('exit', () => child?.kill());

let failed = 0;
for (const width of process.argv.length > 2 ? process.argv.slice(2) : ['4', '8', '16']) {
  console.log(`lavapipe, subgroups of ${width}`);
  const { command, env } = onTarget(`lavapipe-${width}`);
  const vitest = ['run', '--root', root, '--config', join(root, 'test/rig/vitest.lavapipe.config.ts')];
  child = spawn(command[0], [...command.slice(1), join(root, 'node_modules/vitest/vitest.mjs'), ...vitest], {
    env: {
      ...process.env,
      ...env,
      MESA_SHADER_CACHE_DISABLE: 'false',
      MESA_SHADER_CACHE_DIR: join(root, `node_modules/.cache/lavapipe-${width}`),
    },
    stdio: 'inherit',
    timeout: 7_200_000, // against a hang: every test has a limit of its own
  });
  const [status] = await once(child, 'exit');
  if (status !== 0) failed++;
}
process.exit(failed > 0 ? 1 : 0);
