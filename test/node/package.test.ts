/** The built package in a real browser: dist itself, and the README's examples. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Browser } from 'puppeteer';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { wholeShader } from '../../shaders/parts.ts';
import { selfAttention as reference } from '../../src/reference/index.ts';
import { endBrowser, launchChrome } from '../rig/browser.ts';
import { projectRoot } from '../rig/find-chrome.ts';
import { kernels } from '../rig/shader-lines.ts';
import { serve } from '../rig/static-server.ts';

const ROWS = [
  [0.43, 0.15, 0.89],
  [0.55, 0.87, 0.66],
  [0.57, 0.85, 0.64],
];
const PAGE = `<!doctype html><title>test</title><link rel="icon" href="data:,"><script type="importmap">{"imports": {
  "webgpu-attention": "/dist/index.js", "webgpu-attention/reference": "/dist/reference.js"}}</script>`;

let dist: string;
let browser: Browser;
let server: Awaited<ReturnType<typeof serve>>;

beforeAll(async () => {
  dist = mkdtempSync(join(tmpdir(), 'webgpu-attention-'));
  await build({ root: projectRoot, logLevel: 'error', build: { outDir: dist, emptyOutDir: true } });
  server = await serve({ '/dist/': dist, '/': PAGE });
  browser = await launchChrome({ asUsers: true });
});

afterAll(async () => {
  await endBrowser(browser);
  await server.close();
  rmSync(dist, { recursive: true });
});

/** Runs a module's text in a new page; gives what it logged. */
async function runModule(code: string): Promise<string[]> {
  const page = await browser.newPage();
  page.setDefaultTimeout(0); // a test's own limit ends what hangs
  const logged: string[] = [];
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'log') logged.push(message.text());
    if (message.type() === 'error') problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(server.origin);
  const url = `URL.createObjectURL(new Blob([${JSON.stringify(code)}], { type: 'text/javascript' }))`;
  // As text: the test runner rewrites import() in functions.
  const error = await page.evaluate(`import(${url}).then(() => null, (thrown) => String(thrown?.stack ?? thrown))`);
  await page.close();
  expect([error, ...problems].filter(Boolean)).toEqual([]);
  return logged;
}

describe('dist', () => {
  test('selfAttention and the reference give the same', async () => {
    const [text] = await runModule(`
      import { selfAttention } from 'webgpu-attention';
      import { selfAttention as reference } from 'webgpu-attention/reference';
      const numbers = ({ context }) => [...context.data];
      const rows = ${JSON.stringify(ROWS)};
      console.log(JSON.stringify([numbers(await selfAttention(rows)), numbers(reference(rows))]));`);
    const [gpu, cpu] = JSON.parse(text!) as [number[], number[]];
    const expected = reference(ROWS).context.data;
    expect(cpu).toEqual([...expected]);
    for (const [i, value] of expected.entries()) expect(gpu[i]).toBeCloseTo(value, 6);
  });

  test('the shaders lost their comments and indentation, no line and no name', async () => {
    const source = wholeShader(join(projectRoot, 'shaders/softmax.wgsl'));
    const text = readFileSync(join(dist, 'chunks/softmax.js'), 'utf8');
    expect(text).not.toMatch(/The second of the three steps/); // the header comment is gone
    const shipped = JSON.parse(text.match(/= ("(?:[^"\\\n]|\\.)*")/)![1]!) as string;
    const stripped = source.split('\n').map((line) => line.replace(/\s*\/\/(?!!).*$/, '').trim());
    expect(shipped.split('\n')).toEqual(stripped);
  });

  test('every shader is shipped whole, with its comments', () => {
    expect(readdirSync(join(dist, 'shaders')).sort()).toEqual(
      kernels()
        .map(({ name }) => `${name}.wgsl`)
        .sort(),
    );
    const text = readFileSync(join(dist, 'shaders/softmax.wgsl'), 'utf8');
    expect(text).toContain('// softmax:');
    expect(text).toContain('fn logarithm(x: f32) -> f32 {'); // of a part
  });

  test('imports nothing and ships no test or demo', () => {
    const files = readdirSync(dist, { recursive: true })
      .map(String)
      .filter((name) => name.endsWith('.js'));
    expect(files).toEqual(expect.arrayContaining(['index.js', 'reference.js']));
    for (const name of files) {
      const imports = [...readFileSync(join(dist, name), 'utf8').matchAll(/(?:from|import\() ?"([^"]+)"/g)].map(([, from]) => from!);
      for (const from of imports) expect(files).toContain(join(dirname(name), from));
    }
  });
});

describe('README', () => {
  const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
  const examples = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code!);

  test('has an example for each level of use, and one of the reference', () => {
    expect(examples.length).toBeGreaterThanOrEqual(4);
  });

  // Each example says in comments `// → …` what it prints.
  test.each(examples.map((code, i) => [i + 1, code] as const))('example %i runs and prints what it says', async (_, code) => {
    const expected = [...code.matchAll(/\/\/ → (.*)/g)].map(([, text]) => text!);
    expect(expected.length).toBeGreaterThan(0);
    expect(await runModule(code)).toEqual(expected);
  });
});
