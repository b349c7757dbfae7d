/**
 * `npm run lab`: compiles what the library takes on each of the lab's ten GPUs with that GPU's shader compiler; fails where one spills, uses
 * scratch memory or does not compile; prints what differs from test/lab/baseline.json. Arguments: names of GPUs, default all; `--update` writes
 * the baseline; `--heads 32,80,256` looks at other head sizes than the baseline's; `--without subgroups,shader-f16` at devices that lack features.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { createServer } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));
const baselineFile = join(root, 'test/lab/baseline.json');
const { values, positionals } = parseArgs({
  options: { update: { type: 'boolean', default: false }, heads: { type: 'string' }, without: { type: 'string' } },
  allowPositionals: true,
});
const isOther = Boolean(values.heads || values.without); // than what the baseline has
if (values.update && isOther) throw new Error('--update: the baseline has the default head sizes and all features');
const heads = (values.heads ?? '64,128').split(',').map(Number);
// The library's shaders come by import() when they are first needed: what loads it has to stay open.
const vite = await createServer({
  root,
  configFile: join(root, 'vite.config.ts'),
  server: { middlewareMode: true, ws: false },
  optimizeDeps: { noDiscovery: true },
});
const outside = await vite.ssrLoadModule('/test/rig/outside.ts');
if (!outside.labFolder) {
  console.log('Skipped: set GPU_LAB to the folder of the GPU lab.\n0 passed, 0 failed, 1 skipped');
  process.exit(0);
}
delete process.env.GPU_LAB; // from here on it is where the lab unpacks itself

const setup = spawnSync('bash', [join(outside.labFolder, 'setup.sh')], { stdio: ['ignore', 'ignore', 'inherit'], timeout: 600_000 });
if (setup.status !== 0) throw new Error(`The lab could not be set up: exit status ${setup.status}`);
const { Lab } = await vite.ssrLoadModule('/test/lab/compile.ts');
const lab = new Lab(outside.labFolder, await import(pathToFileURL(join(outside.labFolder, 'targets.mjs')).href));
const baseline = existsSync(baselineFile) ? JSON.parse(readFileSync(baselineFile, 'utf8')) : {};
let passed = 0;
let failed = 0;
try {
  for (const gpu of positionals.length > 0 ? positionals : lab.gpus) {
    const { mesa, cases, results } = await lab.look(gpu, heads, values.without?.split(','));
    const known = isOther ? undefined : baseline[mesa]?.[gpu];
    console.log(`\n${gpu}, ${mesa}${known || values.update || isOther ? '' : ': not in the baseline'}`);
    const isBad = (result) => 'error' in result || result.spills > 0 || result.scratch > 0;
    for (const { name, label, problems } of cases) {
      const result = results[name];
      if (isBad(result)) failed++;
      else passed++;
      console.log(`  ${isBad(result) ? 'FAILED' : 'ok    '} ${name.padEnd(44)} ${describe(result)}`);
      console.log(`         ${label}${problems.length > 1 ? `; also ${problems.slice(1).join(', ')}` : ''}`);
      if (known && !values.update && describe(known[name]) !== describe(result)) console.log(`         before: ${describe(known[name])}`);
    }
    for (const name of Object.keys(known ?? {}).filter((name) => !(name in results))) console.log(`         no longer: ${name}`);
    baseline[mesa] = { ...baseline[mesa], [gpu]: results };
  }
} finally {
  lab.close();
}
if (values.update) writeFileSync(baselineFile, `${JSON.stringify(baseline, null, 1)}\n`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

function describe(result) {
  if (!result) return 'unknown';
  if ('error' in result) return result.error;
  const { registers, occupancy, spills, scratch, multiplyAdds } = result;
  const [some, all] = (multiplyAdds ?? '').split(' of ').map(Number);
  const share = all ? `, multiply-adds ${multiplyAdds}, ${Math.round((100 * some) / all)}%` : '';
  return `registers ${registers}, occupancy ${occupancy}, spills ${spills}, scratch ${scratch}${share}`;
}
