/** `npm run train`: trains the page's model in headless Chrome, and checks what it must show. Exit code 1 when it does not. */
import { parseArgs } from 'node:util';
import { runInBrowser, serveDemo } from './in-browser.mjs';

const USAGE = `npm run train -- [options]
  --seed 11,12,13,14,15   what the random weights and the sentences begin with: one model each
  --steps 400             steps of training
  --every 50              steps between two lines of the curve`;
const LIMIT_MS = 20 * 60_000;

/** What every seed must show after training, and before it. */
const BARS = [
  ['held-out accuracy', ({ last }) => last.accuracy, '=', 1],
  ['attention to the place before training', ({ first }) => first.attention, '≤', 0.15],
  ['attention to the place', ({ last }) => last.attention, '≥', 0.9],
  ['lowest mean of one place', ({ last }) => last.lowestPlace, '≥', 0.75],
  ['attention with permuted positions', ({ permuted }) => permuted.attention, '≥', 0.8],
  ['p(warm) of the page’s sentence', ({ page }) => page.probability, '≥', 0.9],
  ['attention without trainable weights', ({ withoutWeights }) => withoutWeights, '<', 0.2],
];
const HOLDS = { '=': (a, b) => a === b, '≤': (a, b) => a <= b, '≥': (a, b) => a >= b, '<': (a, b) => a < b };

async function main() {
  const options = readOptions();
  const server = await serveDemo();
  try {
    const run = { module: 'train/headless.ts', name: 'runTraining', args: [options], limit: LIMIT_MS, listen: showProgress };
    const report = await runInBrowser(server.resolvedUrls.local[0], run);
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    print(report, options);
    if (!check(report)) process.exitCode = 1;
  } finally {
    await server.close();
  }
}

function readOptions() {
  const string = { type: 'string' };
  let values;
  try {
    ({ values } = parseArgs({ options: { seed: string, steps: string, every: string, help: { type: 'boolean' } } }));
  } catch (error) {
    throw new Error(`${error.message}\n${USAGE}`);
  }
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const whole = (name, text, least, most) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most)
      throw new Error(`--${name} is ${JSON.stringify(text)}: need a whole number from ${least} to ${most}\n${USAGE}`);
    return value;
  };
  return {
    seeds: (values.seed ?? '11,12,13,14,15').split(',').map((text) => whole('seed', text, 0, 2 ** 32 - 1)),
    steps: whole('steps', values.steps ?? '400', 1, 100_000),
    every: whole('every', values.every ?? '50', 1, 100_000),
  };
}

let shownAt = 0;
function showProgress({ share, text }) {
  const line = `${Math.round(100 * share)}%: ${text}`;
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`);
  else if (Date.now() - shownAt > 5000) {
    shownAt = Date.now();
    console.error(line);
  }
}

function print({ adapter, dispatches, seeds, cpuStepMs }, { steps }) {
  console.log(`Adapter   ${adapter}`);
  console.log(`A step    16 sentences, ${dispatches} dispatches in one submission`);
  const rate = (ms) => `${(1000 / ms).toFixed(1)} steps a second (${ms.toFixed(1)} ms a step)`;
  const mean = seeds.reduce((sum, { stepMs }) => sum + stepMs, 0) / seeds.length;
  console.log(`GPU       ${rate(mean)}, the mean of ${seeds.length * steps} steps`);
  console.log(`CPU       ${rate(cpuStepMs)}, the reference in f64\n`);
  for (const { seed, curve, permuted, page, pageBefore, withoutWeights } of seeds) {
    console.log(`Seed ${seed}: on 384 sentences of pairs that training never saw`);
    const head = ['step', 'training loss', 'held-out loss', 'accuracy', 'attention to the place', 'lowest place', 'lowest sentence'];
    const rows = curve.map(({ step, trainingLoss, loss, accuracy, attention, lowestPlace, lowestSentence }) => [
      `${step}`,
      ...[trainingLoss, loss, accuracy, attention, lowestPlace, lowestSentence].map((value) => value.toFixed(4)),
    ]);
    console.log(table([head, ...rows]));
    console.log(`  positions permuted: attention ${permuted.attention.toFixed(4)}, accuracy ${permuted.accuracy.toFixed(4)}`);
    console.log(`  without trainable weights: attention ${withoutWeights.toFixed(4)} at most`);
    const text = page.sentence.words.join(' ');
    console.log(
      `  p(${page.sentence.answer}) after “${text}”: ${pageBefore.probability.toFixed(4)} before, ${page.probability.toFixed(4)} after training\n`,
    );
  }
  const { page, seed } = seeds[0];
  console.log(`Attention weights of the page’s sentence, seed ${seed}: rows look at columns`);
  console.log(
    table([
      ['', ...page.sentence.words],
      ...page.sentence.words.map((word, n) => [word, ...page.weights[n].map((weight) => weight.toFixed(3))]),
    ]),
  );
}

/** Columns to the right, the first of words to the left. */
function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows
    .map(
      (row) => `  ${row.map((cell, i) => (rows[0][0] === '' && i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')}`,
    )
    .join('\n');
}

function check({ seeds }) {
  console.log('\nWhat it must show, the worst seed');
  let isRight = true;
  for (const [name, of, sign, bar] of BARS) {
    const values = seeds.map((report) => of({ ...report, first: report.curve[0], last: report.curve.at(-1) }));
    const worst = sign === '≤' || sign === '<' ? Math.max(...values) : Math.min(...values);
    const holds = values.every((value) => HOLDS[sign](value, bar));
    isRight &&= holds;
    console.log(`  ${holds ? 'yes' : 'NO '}  ${name}: ${worst.toFixed(4)} (${sign} ${bar})`);
  }
  return isRight;
}

main().catch((error) => {
  console.error(`npm run train: ${error.message}`);
  process.exit(1);
});
