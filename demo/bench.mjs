/** `npm run bench`: the page's benchmark in headless Chrome. Prints the table; writes JSON and an SVG into bench-results/. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, runInBrowser, serveDemo } from './in-browser.mjs';

const USAGE = `npm run bench -- [options]
  --lengths 64,128,256,512   queries, and as many keys
  --heads 8                  heads
  --head-size 64             numbers a head, at most 256
  --repeats 5                timed runs of each path at each length`;
const LIMIT_MS = 30 * 60_000;

async function main() {
  const options = readOptions();
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

function readOptions() {
  const string = { type: 'string' };
  let values;
  try {
    ({ values } = parseArgs({
      options: { lengths: string, heads: string, 'head-size': string, repeats: string, help: { type: 'boolean' } },
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
  return {
    lengths: (values.lengths ?? '64,128,256,512').split(',').map((text) => whole('lengths', text, 65536)),
    heads: whole('heads', values.heads ?? '8', 256),
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

function print({ device, options, rows }) {
  console.log(
    `Adapter  ${device.adapter}\nHeads    ${options.heads} of size ${options.headSize}, queries = keys = length; every answer was checked before it was timed\n`,
  );
  const head = ['path', 'length', 'median ms', 'fastest', 'slowest', 'runs', 'GFLOP/s', 'greatest error'];
  const time = (value) => value.toFixed(value < 10 ? 3 : 1);
  const lines = rows.map((row) => {
    const times = [row.median, row.least, row.most].map(time);
    return [
      row.path,
      `${row.length}`,
      ...times,
      `${row.runs}`,
      row.gflops.toFixed(3),
      row.path === 'CPU reference' ? '(the reference)' : row.error.toExponential(1),
    ];
  });
  const widths = head.map((name, i) => Math.max(name.length, ...lines.map((line) => line[i].length)));
  for (const line of [head, ...lines])
    console.log(line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '));
}

main().catch((error) => {
  console.error(`npm run bench: ${error.message}`);
  process.exit(1);
});
