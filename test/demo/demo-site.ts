/** The demo as `build-demo.ts` built it, served from a sub-path as any static host would, and a browser that drives it. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser, Page } from 'puppeteer';
import { expect, inject } from 'vitest';
import { endBrowser, launchChrome } from '../rig/browser.ts';
import { serve } from '../rig/static-server.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export interface DrivenPage {
  readonly page: Page;
  /** Console errors, uncaught errors, failed requests, and requests to other hosts. Empty in a healthy page. */
  readonly problems: string[];
}

interface VisitOptions {
  readonly theme?: 'light' | 'dark';
  readonly width?: number;
  readonly before?: () => void;
}

export class DemoSite {
  private constructor(
    readonly folder: string,
    readonly browser: Browser,
    private readonly server: Awaited<ReturnType<typeof serve>>,
  ) {}

  static async open(): Promise<DemoSite> {
    const { folder, problem } = inject('demo');
    if (problem) throw new Error(`the demo was not built: ${problem}`);
    const server = await serve({ '/some/sub-path/': folder });
    return new DemoSite(folder, await launchChrome(), server);
  }

  async close(): Promise<void> {
    await endBrowser(this.browser);
    await this.server.close();
  }

  address(path: string): string {
    return `${this.server.origin}/some/sub-path/${path}`;
  }

  /** Opens a page; `before` runs before any of its scripts. */
  async visit(path: string, { theme = 'light', width = 1280, before }: VisitOptions = {}): Promise<DrivenPage> {
    const page = await this.browser.newPage();
    page.setDefaultTimeout(0); // a test's own limit ends what hangs
    const problems: string[] = [];
    page.on('console', (message) => message.type() === 'error' && problems.push(`console: ${message.text()}`));
    page.on('pageerror', (error) => problems.push(`uncaught: ${error}`));
    page.on('requestfailed', (request) => problems.push(`failed: ${request.url()}`));
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(this.server.origin))
        problems.push(`another host: ${request.url()}`);
    });
    page.on('response', (response) => response.status() >= 400 && problems.push(`${response.status()}: ${response.url()}`));
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
    if (before) await page.evaluateOnNewDocument(before);
    await page.goto(this.address(path));
    return { page, problems };
  }

  /** Bytes of all files, gzipped one by one. */
  gzipBytes(): number {
    const files = (folder: string): string[] =>
      readdirSync(folder).flatMap((name) =>
        statSync(join(folder, name)).isDirectory() ? files(join(folder, name)) : [join(folder, name)],
      );
    if (!existsSync(join(this.folder, 'index.html'))) throw new Error('the demo was not built');
    return files(this.folder).reduce((sum, file) => sum + gzipSync(readFileSync(file)).length, 0);
  }
}

/** Expects that axe-core finds nothing, of attributes' values nothing doubtful either: WCAG 2 A and AA, and its best practices. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(axe);
  const violations = await page.evaluate(
    `axe.run().then(({ violations, incomplete }) => [...violations, ...incomplete.filter(({ id }) => id === "aria-valid-attr-value")].map(
      ({ id, nodes }) => id + ": " + nodes.map(({ html }) => html).slice(0, 3).join(" | ")))`,
  );
  expect(violations).toEqual([]);
}

/** The numbers in the cells of a table: what stands in each, without the CPU's beside it. */
export async function readTable(page: Page, selector: string): Promise<string[][]> {
  return page.$$eval(`${selector} tr`, (rows) =>
    rows.map((row) =>
      [...row.querySelectorAll('th, td')].map((cell) => {
        const copy = cell.cloneNode(true) as HTMLElement;
        for (const cpu of copy.querySelectorAll('.cpu')) cpu.remove();
        return copy.textContent!.trim();
      }),
    ),
  );
}
