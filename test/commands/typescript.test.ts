/** Strict TypeScript consumers of the packed package, each compiler set up as the README's table says, with the README's examples as source. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectRoot } from '../rig/find-chrome.ts';
import { HANG_MS } from '../rig/limits.ts';

/** The development dependencies that are the compilers. */
const COMPILERS: Readonly<Record<string, string>> = { '5.9': 'typescript', '6.0': 'typescript-6', '7.0': 'typescript-7' };
const MODULES: Readonly<Record<string, string>> = { node16: 'node16', bundler: 'esnext' }; // `module` by `moduleResolution`

const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
const setups = [...readme.matchAll(/^\| (\d\.\d) \| `([^`]+)` \| `([^`]+)` \|$/gm)].map(([, version, install, options]) => ({
  version: version!,
  install: install!,
  options: JSON.parse(`{${options}}`) as Record<string, unknown>,
}));

/** What strict TypeScript wants of the examples, which are JavaScript, as the README says. */
const STRICT: readonly [string, string][] = [
  ['out, lse);', 'out, lse!);'],
  ['...scores.data', '...scores!.data'],
  ['adapter.requestDevice()', 'adapter!.requestDevice()'],
  ["dtype: 'f32' };", "dtype: 'f32' } as const;"],
  ['(size) =>', '(size: number) =>'],
  ['(...data) =>', '(...data: number[]) =>'],
];

/** The declarations say what there is: an error that does not come is one. */
const CLAIMS = `import { type AttentionOptions, createAttention, type GpuTensor, selfAttention } from 'webgpu-attention';
import { scaledDotProductAttention } from 'webgpu-attention/reference';

const attention = await createAttention({ powerPreference: 'low-power' });
const device: GPUDevice = attention.device;
const q: GpuTensor = attention.upload([1, 2], [1, 1, 1, 2]);
const buffer: GPUBuffer = q.buffer;
const options: AttentionOptions = { isCausal: true, window: [3, 0], variant: { flash_decode: { SPLITS: 2 } } };
const { out, lse } = await attention.scaledDotProductAttention(q, q, q, options);
const context: readonly number[] = (await selfAttention([[1, 2]])).context.shape;
console.log(device, buffer, out.shape, context, scaledDotProductAttention);
// @ts-expect-error WebGPU's types are no any
device.nothing;
// @ts-expect-error lse is there only where it was asked for
lse.shape;
// @ts-expect-error no such option
await attention.scaledDotProductAttention(q, q, q, { causal: true });
// @ts-expect-error no such kernel
await attention.scaledDotProductAttention(q, q, q, { variant: { flash: {} } });
// @ts-expect-error no such constant of this kernel
await attention.scaledDotProductAttention(q, q, q, { variant: { flash_decode: { TILE_N: 16 } } });
// @ts-expect-error no numbers
await selfAttention([['1']]);
`;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-consumer-'));
  const pack = spawnSync('npm', ['pack', '--pack-destination', folder], {
    cwd: projectRoot,
    encoding: 'utf8',
    timeout: HANG_MS,
    shell: process.platform === 'win32',
  });
  expect(pack.status, pack.stderr).toBe(0);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))!;
  const installed = join(folder, 'node_modules/webgpu-attention');
  mkdirSync(installed, { recursive: true });
  expect(spawnSync('tar', ['-xzf', join(folder, tarball), '-C', installed, '--strip-components', '1']).status).toBe(0);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(folder, 'claims.ts'), CLAIMS);
  for (const [i, [, code]] of [...readme.matchAll(/```js\n(.*?)```/gs)].entries())
    writeFileSync(
      join(folder, `example-${i + 1}.ts`),
      STRICT.reduce((text, [from, to]) => text.replaceAll(from, to), code!),
    );
});

afterAll(() => rmSync(folder, { recursive: true }));

/** As `npm install` would: `name`, or `name@npm:package`. */
function install(spec: string): void {
  const [, name, source = name] = spec.match(/^(@?[^@]+)(?:@npm:(.+))?$/)!;
  const place = join(folder, 'node_modules', name!);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(join(projectRoot, 'node_modules', source!), place, 'junction');
}

/** @returns what the compiler says of all files */
function compile(version: string, moduleResolution: string, options: object): string {
  const compilerOptions = { strict: true, noEmit: true, target: 'es2022', module: MODULES[moduleResolution], moduleResolution, ...options };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  const compiler = join(projectRoot, 'node_modules', COMPILERS[version]!, 'bin/tsc');
  const { stdout, stderr, status } = spawnSync(process.execPath, [compiler, '-p', folder], {
    cwd: folder,
    encoding: 'utf8',
    timeout: HANG_MS,
  });
  return status === 0 ? '' : `exit status ${status}\n${stdout}${stderr}`;
}

test('the table has the compilers that are tested, and the examples all that strict TypeScript wants changed', () => {
  expect(setups.map(({ version }) => version)).toEqual(Object.keys(COMPILERS));
  for (const [version, name] of Object.entries(COMPILERS))
    expect(JSON.parse(readFileSync(join(projectRoot, 'node_modules', name, 'package.json'), 'utf8')).version).toMatch(
      new RegExp(`^${version}\\.`),
    );
  for (const [from] of STRICT) expect(readme).toContain(from);
});

describe.each(setups)('TypeScript $version', ({ version, install: spec, options }) => {
  test('needs what the table says', () => {
    expect(compile(version, 'bundler', { types: [] })).toMatch(/GPUBufferUsage/);
  });

  test.each(Object.keys(MODULES))('moduleResolution %s', (moduleResolution) => {
    const others = join(folder, 'node_modules');
    for (const name of readdirSync(others)) if (name !== 'webgpu-attention') rmSync(join(others, name), { recursive: true });
    install(spec);
    expect(compile(version, moduleResolution, options)).toBe('');
  });
});
