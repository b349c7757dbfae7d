/** Starts a browser with WebGPU: on the machine's GPU if there is one, on a software device if not. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import puppeteer, { type Browser, type LaunchOptions as PuppeteerOptions } from 'puppeteer';
import { findChrome, projectRoot } from './find-chrome.ts';
import { closeProfile, nameBrowser, openProfile } from './guard.ts';
import { HANG_MS } from './limits.ts';

const GPU_TRY_MS = 30_000; // flags for a GPU without a driver leave some browsers waiting for ever
const linux = process.platform === 'linux';

// unsafe-webgpu lets WebGPU run on software devices and unlisted GPUs, and turns the rounding of timestamps off.
const BASE = [
  '--enable-unsafe-webgpu',
  ...(linux ? ['--no-sandbox', '--ignore-gpu-blocklist', '--enable-features=Vulkan', '--disable-vulkan-surface'] : []),
];
const GPU = ['--use-angle=vulkan'];
const SOFTWARE = ['--use-webgpu-adapter=swiftshader'];
/**
 * What browsers add to every shader, left out. SwiftShader unrolls the zeroing of workgroup memory, 1.4 ms of a pipeline for each f32 (24 Nov 2026), and
 * takes a fifth longer to compile where indices are clamped (27 Nov 2026). Kernels need neither.
 */
const QUICK_PIPELINES = ['--enable-dawn-features=disable_workgroup_init,disable_robustness'];

export interface LaunchOptions {
  /** Compile shaders as users' browsers do: workgroup memory zeroed, indices clamped. Default: false, which takes software devices less time. */
  asUsers?: boolean;
  /** How long a single command to the browser may take, in milliseconds. Default: HANG_MS. */
  protocolTimeout?: number;
  /** More flags for the browser. */
  args?: readonly string[];
}

/**
 * Chrome, headless, with an adapter. `WEBGPU_ADAPTER=swiftshader` forces the software device.
 * @throws Error when there is no Chrome, or none of its adapters works
 */
export async function launchChrome({ asUsers = false, protocolTimeout = HANG_MS, args = [] }: LaunchOptions = {}): Promise<Browser> {
  const { WEBGPU_ADAPTER } = process.env;
  if (WEBGPU_ADAPTER && WEBGPU_ADAPTER !== 'swiftshader')
    throw new Error(`WEBGPU_ADAPTER is ${WEBGPU_ADAPTER}: need swiftshader, or nothing`);
  const { source, ...found } = await findChrome();
  const quick = asUsers ? [] : QUICK_PIPELINES;
  const tries = WEBGPU_ADAPTER ? [SOFTWARE] : [...(hasGpuNode() ? [GPU] : []), [], SOFTWARE];
  for (const [i, extra] of tries.entries()) {
    // Puppeteer edits args: a fresh array each time.
    const browser = await launch({ ...found, protocolTimeout, args: [...BASE, ...quick, ...extra, ...args] });
    const adapter = await probe(browser, extra === GPU ? GPU_TRY_MS : HANG_MS);
    if (adapter && (!adapter.isSoftware || i >= tries.length - 2)) {
      console.error(`[browser] ${await browser.version()} (${source}), WebGPU on ${adapter.name}`);
      return browser;
    }
    await endBrowser(browser);
  }
  throw new Error(
    `No WebGPU adapter in ${found.executablePath}: update the browser or the graphics driver, or set PUPPETEER_EXECUTABLE_PATH to another Chrome.`,
  );
}

/** Firefox, headless, over WebDriver BiDi. */
export async function launchFirefox(): Promise<Browser> {
  const executablePath = process.env.FIREFOX_PATH ?? ['/usr/bin/firefox', '/usr/bin/firefox-esr'].find((path) => existsSync(path));
  if (!executablePath) throw new Error('No Firefox was found: install it, or set FIREFOX_PATH.');
  return launch({
    browser: 'firefox',
    executablePath,
    protocolTimeout: HANG_MS,
    headless: true,
    env: { ...process.env, MOZ_DISABLE_GPU_SANDBOX: '1' },
    extraPrefsFirefox: { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true },
  });
}

/** Below it Chrome puts the path of a socket, which has 107 characters at most (unix(7)). */
const LONGEST_PROFILE = 60;
const profiles = new WeakMap<Browser, string>();

/** Every browser of the project starts here, under guard. */
async function launch(options: PuppeteerOptions): Promise<Browser> {
  const profile = openProfile();
  try {
    const handles = { handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false }; // the guard's affair: puppeteer's let this process live on
    const env = { ...process.env, ...options.env, ...(profile.length <= LONGEST_PROFILE && { TMPDIR: profile }) };
    const browser = await puppeteer.launch({ ...options, ...handles, env, userDataDir: profile, timeout: HANG_MS });
    profiles.set(browser, profile);
    nameBrowser(profile, browser.process()?.pid);
    return browser;
  } catch (error) {
    closeProfile(profile);
    throw error;
  }
}

const hasGpuNode = (): boolean =>
  linux &&
  (existsSync('/dev/nvidia0') ||
    existsSync('/dev/dxg') ||
    (existsSync('/dev/dri') && readdirSync('/dev/dri').some((name) => name.startsWith('renderD'))));

/** The browser's adapter. GPU flags can crash a browser, or leave it waiting for a GPU process that never comes: null then. */
async function probe(browser: Browser, patience: number): Promise<{ name: string; isSoftware: boolean } | null> {
  const timer = setTimeout(() => kill(browser), patience);
  try {
    const page = await browser.newPage();
    await page.goto(pathToFileURL(join(projectRoot, 'package.json')).href); // a file: URL is a secure context
    const found = await page.evaluate(async () => {
      const adapter = await navigator.gpu?.requestAdapter();
      if (!adapter) return null;
      const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
      return { name: [vendor, architecture, description].filter(Boolean).join(' '), isSoftware: isFallbackAdapter };
    });
    await page.close();
    return found;
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

/** Ends a browser whatever state it is in. */
export async function endBrowser(browser: Browser): Promise<void> {
  const timer = setTimeout(() => kill(browser), 5000);
  await browser.close().catch(() => kill(browser));
  clearTimeout(timer);
  const profile = profiles.get(browser);
  if (profile) closeProfile(profile);
}

function kill(browser: Browser): void {
  const child = browser.process();
  if (!child?.pid) return;
  try {
    if (process.platform === 'win32') child.kill();
    else process.kill(-child.pid, 'SIGKILL'); // its group: puppeteer gives a browser one of its own
  } catch {
    // gone already
  }
}
