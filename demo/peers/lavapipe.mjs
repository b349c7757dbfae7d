/** The contest in Node on lavapipe: the lab's Node with the npm package `webgpu` as navigator.gpu. */
import { spawnSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { createServer, runnerImport } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const LIMIT_MS = 60 * 60_000;

/** Runs this command again in the lab, on lavapipe with subgroups of `width` lanes. @returns the exit status */
export async function respawn(width) {
  const { module: outside } = await runnerImport(join(root, 'test/rig/outside.ts'));
  if (!outside.labFolder) throw new Error('--lavapipe needs the GPU lab: set GPU_LAB to its folder');
  delete process.env.GPU_LAB; // from here on it is where the lab unpacks itself
  const setup = spawnSync('bash', [join(outside.labFolder, 'setup.sh')], { stdio: ['ignore', 'ignore', 'inherit'], timeout: 600_000 });
  if (setup.status !== 0) throw new Error(`The lab could not be set up: exit status ${setup.status}`);
  const { onTarget } = await import(pathToFileURL(join(outside.labFolder, 'targets.mjs')));
  const { command, env } = onTarget(`lavapipe-${width}`);
  const again = [...command.slice(1), join(here, 'run.mjs'), ...process.argv.slice(2), '--in-node'];
  const { status } = spawnSync(command[0], again, { env: { ...process.env, ...env }, stdio: 'inherit', timeout: LIMIT_MS });
  return status ?? 1;
}

/** The counterpart of openBrowser: contestants share this process. */
export async function openNode() {
  await runnerImport(join(root, 'test/rig/node-webgpu.ts'));
  suitJax();
  const server = await createServer({
    root,
    logLevel: 'error',
    appType: 'custom',
    optimizeDeps: { noDiscovery: true },
    server: { middlewareMode: true, hmr: false, ws: false, watch: null }, // no address: it only loads modules, also those that others load late
  });
  const stage = await server.ssrLoadModule('/demo/peers/stage.ts');
  const base = pathToFileURL(join(here, 'node_modules')).href;
  return {
    place: `Node ${process.versions.node} on ${await stage.adapter()}`,
    open: async (contestant) => ({
      prepare: (work, rows) => stage.prepare(contestant, work, rows, base, (address) => import(address)),
      sample: (calls) => stage.sample(contestant.name, calls),
      end: async () => {},
    }),
    peak: stage.peak,
    close: () => server.close(),
  };
}

/** Gives @jax-js/jax what browsers have and Node lacks before version 22, or with a navigator that is only WebGPU's. */
function suitJax() {
  navigator.userAgent ??= `Node.js/${process.versions.node}`;
  const iterators = Object.getPrototypeOf(Object.getPrototypeOf([].values()));
  iterators.map ??= function* (change) {
    for (const item of this) yield change(item);
  };
  iterators.filter ??= function* (isKept) {
    for (const item of this) if (isKept(item)) yield item;
  };
}
