/** `npm start`: runs the example sentence on this machine's GPU, prints the result, and serves the demo page. */
import { parseArgs } from 'node:util';
import { runInBrowser, serveDemo } from './in-browser.mjs';

const USAGE = `npm start -- [options]
  --sentence "…"  another sentence than the example
  --once          stop after printing: do not serve the demo page
  --json          print JSON`;
const RUN_MS = 120_000; // a software device compiles the kernels in about a second; after this something hangs

async function main() {
  const { once, json, sentence } = readOptions();
  const server = await serveDemo();
  try {
    const address = server.resolvedUrls.local[0];
    const example = await runInBrowser(address, { module: 'example.ts', name: 'runSentence', args: [sentence], limit: RUN_MS });
    if (json) console.log(JSON.stringify(toJson(sentence, example), null, 2));
    else print(sentence, example);
    if (once) await server.close();
    else console.error(`\nThe demo page: ${address}  (a browser with WebGPU opens it; Ctrl+C ends)`);
  } catch (error) {
    await server.close();
    throw error;
  }
}

function readOptions() {
  try {
    const options = { once: { type: 'boolean' }, json: { type: 'boolean' }, sentence: { type: 'string' }, help: { type: 'boolean' } };
    const { values } = parseArgs({ options });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    return { once: values.once ?? false, json: values.json ?? false, sentence: values.sentence ?? 'Your journey starts with one step' };
  } catch (error) {
    throw new Error(`${error.message}\n${USAGE}`);
  }
}

function toJson(sentence, { adapter, words, query, scores, weights, context, differences }) {
  return {
    adapter,
    sentence,
    tokens: words.map(({ text }) => text),
    madeUp: words.filter(({ isInvented }) => isInvented).map(({ text }) => text),
    inputs: words.map(({ vector }) => vector),
    query: words[query].text,
    queryScores: scores[query],
    scores,
    weights,
    context,
    differences,
  };
}

function print(sentence, { adapter, words, query, scores, weights, context, differences }) {
  const names = words.map(({ text }) => text);
  const invented = new Set(words.filter(({ isInvented }) => isInvented).map(({ text }) => text));
  console.log(`Adapter   ${adapter}`);
  console.log(`Sentence  ${sentence}`);
  console.log(`Tokens    ${names.join(' | ')}`);
  if (invented.size > 0) console.log(`          made-up vectors, not an embedding's: ${[...invented].join(', ')}`);
  console.log(
    `\nScores of the query "${names[query]}": its dot products with every word\n${table([names[query]], names, [scores[query]])}`,
  );
  console.log(`\nAttention weights: the softmax of every word's scores; each row sums to 1\n${table(names, names, weights)}`);
  console.log(`\nContext vectors: the words' vectors summed by those weights\n${table(names, ['1', '2', '3'], context)}`);
  const greatest = Object.entries(differences).map(([name, value]) => `${name} ${value.toExponential(1)}`);
  console.log(`\nGreatest difference from the CPU reference: ${greatest.join(', ')}`);
}

function table(rows, columns, values) {
  const first = Math.max(...rows.map((name) => name.length));
  const widths = columns.map((name) => Math.max(name.length, 7));
  const line = (name, cells) => `  ${name.padEnd(first)}  ${cells.map((cell, i) => cell.padStart(widths[i])).join('  ')}`;
  return [
    line('', columns),
    ...values.map((row, n) =>
      line(
        rows[n],
        row.map((value) => value.toFixed(4)),
      ),
    ),
  ].join('\n');
}

main().catch((error) => {
  console.error(`npm start: ${error.message}`);
  process.exit(1);
});
