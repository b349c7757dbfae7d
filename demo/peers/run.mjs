/** `npm run bench:peers`: this package beside its peers, on the same inputs in the same browser. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runnerImport } from 'vite';
import { openBrowser, serve } from './browser.mjs';
import { openNode, respawn } from './lavapipe.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const { module: works } = await runnerImport(join(here, 'works.ts'));
const { module: contestants } = await runnerImport(join(here, 'contestants.ts'));
const { module: contests } = await runnerImport(join(here, 'contest.ts'));
const { module: tables } = await runnerImport(join(here, 'table.ts'));

const USAGE = `npm run bench:peers -- [options]
  --works ${works.SET_NAMES.join(',')}   what is computed; default all
  --lengths 256,512   keys, in place of the works' own
  --repeats 5         timed samples of each contestant
  --only ${contestants.GROUPS.join(',')}   who is measured; default all
  --limit 60          seconds that a contestant may take to get ready, and for a sample
  --lavapipe 8        in Node on lavapipe with subgroups of 4, 8 or 16: those that run there`;
const INSTALL_MS = 10 * 60_000;

async function main() {
  const options = readOptions();
  const versions = install();
  if (options.lavapipe && !options.inNode) {
    process.exitCode = await respawn(options.lavapipe);
    return;
  }
  const chosen = contestants.CONTESTANTS.filter(({ group, runsInNode }) => options.only.includes(group) && (!options.inNode || runsInNode));
  const server = options.inNode ? undefined : await serve();
  const rows = [];
  let place = '';
  try {
    for (const work of works.worksOf(options.works, options.lengths)) {
      const stage = options.inNode ? await openNode() : await openBrowser(server, options.limit); // a fresh one: nothing is compiled yet
      place = stage.place;
      try {
        const say = (text) => console.error(text);
        const own = await contests.contest(work, chosen.filter(canDo(work)), { ...options, versions, say, open: stage.open });
        rows.push(...own);
        console.log(`\n${contests.describe(work)}\n${tables.table(own)}`);
        if (stage.peak) console.log(tables.sharesOf(own, await stage.peak())); // in a browser that is what `npm run bench` says
      } finally {
        await stage.close();
      }
    }
  } finally {
    await server?.close();
    if (rows.length > 0) write(rows, options, place);
  }
  if (rows.some(({ isOurs, status }) => isOurs && status !== 'right')) process.exitCode = 1;
}

const canDo =
  ({ pass }) =>
  ({ hasGradient }) =>
    pass === 'forward' || hasGradient;

function readOptions() {
  const string = { type: 'string' };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        ...{ works: string, lengths: string, repeats: string, only: string, limit: string, lavapipe: string },
        ...{ 'in-node': { type: 'boolean' }, help: { type: 'boolean' } }, // in-node: what --lavapipe starts there
      },
    }));
  } catch (error) {
    throw new Error(`${error.message}\n${USAGE}`);
  }
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const whole = (name, text, most) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= 1 && value <= most) return value;
    throw new Error(`--${name} is ${JSON.stringify(text)}: need a whole number from 1 to ${most}\n${USAGE}`);
  };
  const names = (name, text, known) => {
    const list = text?.split(',') ?? known;
    const wrong = list.find((item) => !known.includes(item));
    if (wrong === undefined) return list;
    throw new Error(`--${name} has ${JSON.stringify(wrong)}: known are ${known.join(', ')}\n${USAGE}`);
  };
  if (values.lavapipe !== undefined) names('lavapipe', values.lavapipe, ['4', '8', '16']);
  return {
    works: names('works', values.works, works.SET_NAMES),
    lengths: values.lengths?.split(',').map((text) => whole('lengths', text, 16384)),
    repeats: whole('repeats', values.repeats ?? '5', 1000),
    only: names('only', values.only, contestants.GROUPS),
    limit: 1000 * whole('limit', values.limit ?? '60', 3600),
    lavapipe: values.lavapipe,
    inNode: values['in-node'] ?? false,
  };
}

/** Sees to it that the peers are there in exactly the versions that the folder's lockfile pins. @returns the versions by package */
function install() {
  const read = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const pinned = Object.entries(read(here).dependencies);
  const isThere = ([name, version]) => {
    const folder = join(here, 'node_modules', name);
    return existsSync(folder) && read(folder).version === version;
  };
  if (!pinned.every(isThere)) {
    console.error('The peers are installed into their own folder');
    const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: here,
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: INSTALL_MS,
      shell: process.platform === 'win32',
    });
    if (status !== 0 || !pinned.every(isThere))
      throw new Error('The peers could not be installed: try `npm ci --ignore-scripts` in demo/peers');
  }
  return { '': read(root).version, ...Object.fromEntries(pinned) };
}

function write(rows, { repeats, limit, lavapipe }, place) {
  const date = new Date().toISOString();
  const summary = contests.summarize(rows);
  const folder = join(root, 'bench-results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `peers-${date.replace(/[:.]/g, '-')}.json`);
  writeFileSync(file, `${JSON.stringify({ date, place, lavapipe, repeats, limit, rows, summary }, null, 2)}\n`);
  console.log(['', ...tables.summaryLines(summary), `SUMMARY ${JSON.stringify(summary)}`, `Written: ${file}`].join('\n'));
}

main().then(
  () => process.exit(), // what never came back keeps nobody waiting
  (error) => {
    console.error(`npm run bench:peers: ${error.message}`);
    process.exit(1);
  },
);
