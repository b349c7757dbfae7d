/// <reference types="vitest/config" />
/**
 * A Vitest Browser Mode provider: the tests run in pages that Puppeteer drives, each in a browser of its own. Most of the time goes into
 * compiling shaders, and SwiftShader compiles one at a time in a process: these tests took 524 s with two pages in one browser, 361 s with
 * one in each of two (Chrome 143, 27 Nov 2026). Firefox slows pages down that another hides.
 */
import { defineBrowserProvider } from '@vitest/browser';
import type { Browser, Page } from 'puppeteer';
import type { Plugin } from 'vite';
import type { BrowserProvider, CDPSession, Reporter, TestProject } from 'vitest/node';
import { endBrowser, launchChrome, launchFirefox } from './browser.ts';
import { endWithCommand } from './guard.ts';

const live = new Set<PuppeteerProvider>();

class PuppeteerProvider implements BrowserProvider {
  readonly name = 'puppeteer';
  readonly supportsParallelism = true;
  private readonly browsers = new Map<string, Promise<Browser>>();
  private readonly pages = new Map<string, Page>();

  constructor(private readonly project: TestProject) {
    live.add(this);
  }

  async openPage(sessionId: string, url: string): Promise<void> {
    live.add(this); // again, where a watched run goes on after `close`
    await this.pages.get(sessionId)?.close();
    const { name } = this.project.config.browser;
    if (name !== 'firefox' && name !== 'chrome') throw new Error(`BROWSER is ${name}: need chrome or firefox`);
    if (!this.browsers.has(sessionId)) this.browsers.set(sessionId, name === 'firefox' ? launchFirefox() : launchChrome());
    const page = await (await this.browsers.get(sessionId)!).newPage();
    this.pages.set(sessionId, page);
    // A crashed tab never answers again; closing it makes Vitest fail the run at once.
    page.on('error', (error) => {
      console.error(`[browser] ${error.message}`);
      page.close().catch(() => {});
    });
    await page.goto(url, { timeout: 0 });
  }

  getCommandsContext(sessionId: string) {
    return { page: this.pages.get(sessionId) };
  }

  /** For V8 coverage and `cdp()`. */
  async getCDPSession(sessionId: string): Promise<CDPSession> {
    const session = await this.pages.get(sessionId)!.createCDPSession();
    const bound = Object.fromEntries((['send', 'on', 'off', 'once'] as const).map((name) => [name, session[name].bind(session)]));
    return bound as unknown as CDPSession;
  }

  async close(): Promise<void> {
    live.delete(this);
    const browsers = [...this.browsers.values()];
    this.browsers.clear();
    this.pages.clear();
    await Promise.all(browsers.map((browser) => browser.then(endBrowser, () => {})));
  }
}

export const puppeteerProvider = () =>
  defineBrowserProvider({
    name: 'puppeteer',
    providerFactory: (project) => new PuppeteerProvider(project),
  });

/** Ends the browser when no test reports anything for `ms` (a hung shader, an endless loop), so that the run fails instead of hanging. */
export function stallWatchdog(ms: number): Plugin {
  let timer: NodeJS.Timeout | undefined;
  const stop = () => clearTimeout(timer);
  const restart = () => {
    stop();
    timer = setTimeout(() => {
      console.error(`[browser] no test progress for ${ms / 1000} s: ending the browser`);
      for (const provider of live) void provider.close();
    }, ms);
  };
  const reporter: Reporter = {
    onTestRunStart: restart,
    onTestModuleQueued: restart,
    onTestModuleCollected: restart,
    onTestModuleStart: restart,
    onTestModuleEnd: restart,
    onTestCaseReady: restart,
    onTestCaseResult: restart,
    onHookStart: restart,
    onHookEnd: restart,
    onTestRunEnd: stop,
  };
  return {
    name: 'stall-watchdog',
    configureVitest({ vitest }) {
      endWithCommand(); // also while only workers have browsers
      vitest.config.reporters.push(reporter);
    },
  };
}
