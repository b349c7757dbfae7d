/** The command `npm start`, as a person runs it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { selfAttention } from '../../src/reference/index.ts';
import book from '../book.json';
import { projectRoot } from '../rig/find-chrome.ts';

let child: ChildProcess | undefined;
afterEach(() => child?.kill());

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  child = spawn(process.execPath, [join(projectRoot, 'demo/start.mjs'), ...args], { env: { ...process.env, ...env } });
  const output = { out: '', err: '' };
  child.stdout!.on('data', (chunk) => (output.out += chunk));
  child.stderr!.on('data', (chunk) => (output.err += chunk));
  const ended = new Promise<number | null>((resolve) => child!.on('close', resolve));
  return { output, ended };
}

test('--once prints adapter, tokens, scores, weights, contexts and the difference, and ends', async () => {
  const { output, ended } = start(['--once']);
  expect(await ended).toBe(0);
  expect(output.out).toMatch(/^Adapter {3}\S+/m);
  expect(output.out).toContain('Tokens    Your | journey | starts | with | one | step');
  const printed = book.printed;
  for (const row of [printed.attn_scores_2, ...printed.attn_weights, ...printed.all_context_vecs]) {
    expect(output.out).toContain(row.map((value) => value.toFixed(4).padStart(7)).join('  '));
  }
  expect(output.out).toMatch(/Greatest difference from the CPU reference: scores \d\.\de-\d+, weights \d\.\de-\d+, context \d\.\de-\d+/);
});

test('--json --sentence: made-up vectors are named, and the numbers are those of the reference', async () => {
  const { output, ended } = start(['--once', '--json', '--sentence', 'Your cat, one step: “naïve” cat!']);
  expect(await ended).toBe(0);
  const result = JSON.parse(output.out) as {
    tokens: string[];
    madeUp: string[];
    inputs: number[][];
    query: string;
    context: number[][];
    weights: number[][];
  };
  expect(result.tokens).toEqual(['Your', 'cat', 'one', 'step', 'naïve', 'cat']);
  expect(new Set(result.madeUp)).toEqual(new Set(['cat', 'naïve']));
  expect(result.query).toBe('cat');
  const expected = selfAttention(result.inputs);
  for (const [i, value] of expected.context.data.entries()) expect(result.context.flat()[i]).toBeCloseTo(value, 5);
  for (const [i, value] of expected.weights.data.entries()) expect(result.weights.flat()[i]).toBeCloseTo(value, 5);
});

test('without --once it serves the page that does the same', async () => {
  const { output } = start([]);
  await expect.poll(() => output.err).toMatch(/The demo page: http/);
  const [address] = output.err.match(/http:\/\/\S+/)!;
  const page = await (await fetch(address)).text();
  expect(page).toContain('<title>');
});

test.each([
  [['--once', '--sentence', '…'], {}, /has no word/],
  [['--twice'], {}, /Unknown option '--twice'[\s\S]*--sentence/],
  [['--once'], { PUPPETEER_EXECUTABLE_PATH: '/no/such/chrome' }, /PUPPETEER_EXECUTABLE_PATH: no such file: \/no\/such\/chrome/],
] as const)('%j %j fails and says why', async (args, env, message) => {
  const { output, ended } = start(args, env);
  expect(await ended).toBe(1);
  expect(output.err).toMatch(message);
  expect(output.err).not.toMatch(/^\s+at /m); // no stack
});
