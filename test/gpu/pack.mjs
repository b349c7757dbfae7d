/**
 * `npm run gpu:pack`: packs what a machine with a GPU needs to run the checks into gpu-pack/: Node, WebGPU for it, the tests and the benchmark. It is x86-64
 * Linux, here and there. Downloads and the compressed runtime are kept in node_modules/.cache/gpu-pack.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';
import { compress } from './pack/archive.mjs';
import { bundle } from './pack/bundle.mjs';
import { packRuntime } from './pack/runtime.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const cache = join(root, 'node_modules/.cache/gpu-pack');
const folder = join(root, 'gpu-pack');
const MOST_BYTES = 55 * 2 ** 20;
const CASE_FOLDERS = ['onnx', 'torch', 'real'];

const load = async (file) => (await runnerImport(join(root, file))).module;
(await load('test/rig/guard.ts')).endWithCommand();
const outside = await load('test/rig/outside.ts');

function checkMachine() {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('the pack is for x86-64 Linux, and is made there');
  if (spawnSync('xz', ['--version'], { timeout: 10_000 }).status !== 0) throw new Error('xz is needed: install xz-utils');
}

/** The outside test cases, compressed anew when one of them has changed. @returns the archive, or undefined where there are none */
function packCases() {
  const { casesFolder } = outside;
  const file = join(folder, 'cases.tar.xz');
  rmSync(file, { force: true });
  if (!casesFolder) {
    console.error('Without the outside test cases: set ATTENTION_CASES to their folder.');
    return;
  }
  const names = readdirSync(casesFolder, { recursive: true }).map(String).sort();
  const stamps = names.map((name) => [name, statSync(join(casesFolder, name))]).map(([name, { size, mtimeMs }]) => [name, size, mtimeMs]);
  const key = createHash('sha256').update(JSON.stringify(stamps)).digest('hex').slice(0, 12);
  const kept = join(cache, `cases-${key}.tar.xz`);
  const present = CASE_FOLDERS.filter((name) => existsSync(join(casesFolder, name)));
  if (!existsSync(kept)) compress(casesFolder, present, kept);
  copyFileSync(kept, file);
}

/** This checkout's sources, its tests and the sections, bundled. */
async function packProgram() {
  const program = join(cache, 'program');
  await bundle(root, program, outside.casesPlugin());
  copyFileSync(join(root, 'test/gpu/torch_rows.py'), join(program, 'torch_rows.py'));
  const revision = spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8', timeout: 60_000 });
  writeFileSync(join(program, 'revision'), revision.stdout?.trim() || 'without git');
  compress(program, ['.'], join(folder, 'program.tar.xz'));
}

function tellSize() {
  const files = readdirSync(folder).map((name) => ({ name, bytes: statSync(join(folder, name)).size }));
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  for (const file of files) console.log(`${(file.bytes / 2 ** 20).toFixed(2).padStart(7)} MiB  ${file.name}`);
  console.log(`${(bytes / 2 ** 20).toFixed(1)} MiB in gpu-pack/: copy it to the machine, then \`bash gpu-pack/run.sh\``);
  if (bytes > MOST_BYTES) throw new Error(`the pack is larger than ${MOST_BYTES / 2 ** 20} MiB`);
}

try {
  checkMachine();
  for (const path of [cache, folder]) mkdirSync(path, { recursive: true });
  copyFileSync(await packRuntime(root, cache), join(folder, 'runtime.tar.xz'));
  packCases();
  await packProgram();
  copyFileSync(join(root, 'test/gpu/run.sh'), join(folder, 'run.sh'));
  tellSize();
} catch (error) {
  console.error(`npm run gpu:pack: ${error.message}`);
  process.exitCode = 1;
}
process.exit();
