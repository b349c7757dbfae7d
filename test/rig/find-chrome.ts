/** Finds a Chrome on this machine: an installed one, puppeteer's, or the one that a package carries. */
import { spawnSync } from 'node:child_process';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync, createBrotliDecompress } from 'node:zlib';
import puppeteer, { type LaunchOptions } from 'puppeteer';

export const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

export type FoundChrome = Pick<LaunchOptions, 'executablePath' | 'headless' | 'env'> & { readonly source: string };

let search: Promise<FoundChrome> | undefined;

/** Looks for it once: browsers that start together shall not unpack it twice. */
export const findChrome = (): Promise<FoundChrome> => (search ??= find());

async function find(): Promise<FoundChrome> {
  const fromEnv = process.env.PUPPETEER_EXECUTABLE_PATH;
  if (fromEnv) {
    if (!existsSync(fromEnv)) throw new Error(`PUPPETEER_EXECUTABLE_PATH: no such file: ${fromEnv}`);
    return { executablePath: fromEnv, headless: /headless[-_]shell/.test(fromEnv) ? 'shell' : true, source: 'PUPPETEER_EXECUTABLE_PATH' };
  }
  const { ATTENTION_CHROME } = process.env;
  if (ATTENTION_CHROME && ATTENTION_CHROME !== 'bundled')
    throw new Error(`ATTENTION_CHROME is ${JSON.stringify(ATTENTION_CHROME)}: need bundled, or nothing`);
  const found = ATTENTION_CHROME ? ((await bundled()) ?? cached()) : (installed() ?? cached() ?? (await bundled()));
  if (found) return found;
  spawnSync('npx', ['puppeteer', 'browsers', 'install', 'chrome-headless-shell'], {
    cwd: projectRoot,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  const downloaded = cached();
  if (downloaded) return downloaded;
  throw new Error('No Chrome was found: install Chrome or Chromium, or set PUPPETEER_EXECUTABLE_PATH to one.');
}

const existing = (path: () => string): string | undefined => {
  try {
    const found = path();
    return existsSync(found) ? found : undefined;
  } catch {
    return undefined; // puppeteer throws where it knows no such browser
  }
};

/** A whole Chrome that this machine has. */
export function installed(): FoundChrome | undefined {
  for (const channel of ['chrome', 'chrome-beta', 'chrome-dev', 'chrome-canary'] as const) {
    const executablePath = existing(() => puppeteer.executablePath(channel));
    if (executablePath) return { executablePath, headless: true, source: `installed ${channel}` };
  }
  if (process.platform !== 'linux') return undefined;
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of ['google-chrome', 'google-chrome-stable', 'chromium', 'chromium-browser']) {
      const executablePath = existing(() => join(folder, name));
      if (executablePath) return { executablePath, headless: true, source: 'PATH' };
    }
  }
  return undefined;
}

function cached(): FoundChrome | undefined {
  const executablePath = existing(() => puppeteer.executablePath({ headless: 'shell' })) ?? existing(() => puppeteer.executablePath());
  return executablePath
    ? { executablePath, headless: executablePath.includes('headless-shell') ? 'shell' : true, source: "puppeteer's cache" }
    : undefined;
}

/** The headless Chromium in the package @sparticuz/chromium, unpacked once into node_modules/.cache. */
async function bundled(): Promise<FoundChrome | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const folder = await unpack(bundledPackage());
  return {
    executablePath: join(folder, 'chromium'),
    headless: 'shell',
    source: '@sparticuz/chromium',
    env: { ...process.env, LD_LIBRARY_PATH: join(folder, 'lib') }, // the package's own NSS, NSPR and expat
  };
}

function bundledPackage(): { bin: string; version: string } {
  let folder = dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium'));
  while (!existsSync(join(folder, 'bin'))) folder = dirname(folder);
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  return { bin: join(folder, 'bin'), version };
}

async function unpack({ bin, version }: { bin: string; version: string }): Promise<string> {
  const cache = join(projectRoot, 'node_modules', '.cache');
  const target = join(cache, `chromium-${version}`);
  if (existsSync(target)) return target;
  mkdirSync(cache, { recursive: true });
  const temporary = mkdtempSync(join(cache, 'unpack-'));
  for (const name of readdirSync(bin)) {
    const from = join(bin, name);
    if (name.endsWith('.tar.br')) untar(brotliDecompressSync(readFileSync(from)), temporary);
    else if (name.endsWith('.br'))
      await pipeline(
        createReadStream(from),
        createBrotliDecompress(),
        createWriteStream(join(temporary, name.slice(0, -3)), { mode: 0o755 }),
      );
  }
  try {
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (!existsSync(target)) throw error; // else another process was first
  }
  return target;
}

/** The folders and plain files of a tar archive (POSIX ustar): all that the package's archives hold. */
function untar(tar: Buffer, to: string): void {
  const field = (at: number, length: number) => tar.toString('utf8', at, at + length).replace(/\0.*$/s, '');
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(field(at + 124, 12), 8) || 0;
    const type = field(at + 156, 1);
    const file = join(to, field(at, 100));
    if (type === '5') mkdirSync(file, { recursive: true });
    else if (type === '0' || type === '') {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, tar.subarray(at + 512, at + 512 + size), { mode: 0o755 });
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
}
