/** `npm run bench`: the page's benchmark in headless Chrome. Prints the table; writes JSON and an SVG into bench-results/. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runnerImport } from 'vite';
import { root, runInBrowser, serveDemo } from './in-browser.mjs';

const USAGE = `npm run bench -- [options]
  --lengths 64,128,256,512   keys
  --queries N                queries; default as many as keys
  --heads 8                  heads
  --key-heads 8              heads of keys and values; default as many as heads
  --head-size 64             numbers a head, at most 256
  --passes forward           of forward,backward,both: the answer, the gradients of q, k and v, one after the other
  --causal                   a query sees no later key
  --tune                     measure variants on the device first, and take the fastest
  --repeats 5                timed runs of each path at each length`;
const LIMIT_MS = 30 * 60_000;

async function main() {
  const { module: work } = await runnerImport(join(root, 'demo/benchmark/work.ts'));
  const options = readOptions(work.PASSES);
  work.checkOptions(options); // before a browser starts
  const server = await serveDemo();
  try {
    const run = { module: 'benchmark/headless.ts', name: 'runHeadless', args: [options], limit: LIMIT_MS, listen: showProgress };
    const { report, svg, failure } = await runInBrowser(server.resolvedUrls.local[0], run);
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    print(report);
    const folder = join(root, 'bench-results');
    mkdirSync(folder, { recursive: true });
    const stem = join(folder, report.date.replace(/[:.]/g, '-'));
    writeFileSync(`${stem}.json`, `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(`${stem}.svg`, svg);
    console.log(`\nWritten: ${stem}.json and .svg`);
    if (failure) throw new Error(`ended early: ${failure}`);
  } finally {
    await server.close();
  }
}

/** @param known the passes there are */
function readOptions(known) {
  const string = { type: 'string' };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        ...{ passes: string, lengths: string, queries: string, heads: string, 'key-heads': string, 'head-size': string, repeats: string },
        ...{ causal: { type: 'boolean' }, tune: { type: 'boolean' }, help: { type: 'boolean' } },
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
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw new Error(`--${name} is ${JSON.stringify(text)}: need a whole number from 1 to ${most}\n${USAGE}`);
    return value;
  };
  const heads = whole('heads', values.heads ?? '8', 256);
  const passes = (values.passes ?? 'forward').split(',');
  const wrong = passes.find((pass) => !known.includes(pass));
  if (wrong !== undefined) throw new Error(`--passes has ${JSON.stringify(wrong)}: known are ${known.join(', ')}\n${USAGE}`);
  return {
    passes: known.filter((pass) => passes.includes(pass)),
    lengths: (values.lengths ?? '64,128,256,512').split(',').map((text) => whole('lengths', text, 65536)),
    queries: values.queries === undefined ? undefined : whole('queries', values.queries, 65536),
    heads,
    keyHeads: values['key-heads'] === undefined ? heads : whole('key-heads', values['key-heads'], 256),
    isCausal: values.causal ?? false,
    tune: values.tune ?? false,
    headSize: whole('head-size', values['head-size'] ?? '64', 256),
    repeats: whole('repeats', values.repeats ?? '5', 1000),
  };
}

let shownAt = 0;
function showProgress({ share, secondsLeft, text }) {
  const line = `${Math.round(100 * share)}%: ${text}${secondsLeft === undefined ? '' : `, about ${Math.max(1, Math.round(secondsLeft))} s left`}`;
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`);
  else if (Date.now() - shownAt > 5000) {
    shownAt = Date.now();
    console.error(line);
  }
}

function print({ device, options, roofline, rows, missing }) {
  const { heads, keyHeads, headSize, queries, isCausal } = options;
  const shapes = `${heads} of size ${headSize}${keyHeads === heads ? '' : `, ${keyHeads} key heads`}${isCausal ? ', causal' : ''}`;
  console.log(`Adapter  ${device.adapter}`);
  console.log(`Peak     ${roofline.gflops.toFixed(1)} GFLOP/s in multiply-adds, ${roofline.gbps.toFixed(1)} GB/s read and written`);
  console.log(`Heads    ${shapes}; ${queries ? `${queries} queries` : 'queries = keys'}; every answer was checked before it was timed\n`);
  const head = [
    'path',
    'pass',
    'keys',
    'median ms',
    'fastest',
    'slowest',
    'runs',
    'first call',
    'GFLOP/s',
    'GB/s',
    'of peak',
    'greatest error',
    'kernels',
  ];
  const time = (value) => value.toFixed(value < 10 ? 3 : 1);
  const lines = rows.map((row) => {
    const times = [row.median, row.least, row.most].map(time);
    const name = [row.path, row.pass];
    const rates = [row.gflops.toFixed(2), row.gbps.toFixed(2)];
    if (row.path === 'CPU reference') return [...name, `${row.length}`, ...times, `${row.runs}`, '', ...rates, '', '(the reference)', ''];
    const share = `${(100 * row.share).toFixed(1)}% ${row.bound}`;
    return [...name, `${row.length}`, ...times, `${row.runs}`, time(row.first), ...rates, share, row.error.toExponential(1), row.kernels];
  });
  const widths = head.map((name, i) => Math.max(name.length, ...lines.map((line) => line[i].length)));
  const isText = (i) => i < 2 || i === head.length - 1;
  for (const line of [head, ...lines])
    console.log(
      line
        .map((cell, i) => (isText(i) ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join('  ')
        .trimEnd(),
    );
  for (const line of missing) console.log(line);
}

main().catch((error) => {
  console.error(`npm run bench: ${error.message}`);
  process.exit(1);
});
