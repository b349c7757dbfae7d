/** Serves the demo, and runs its modules in a headless browser: on the machine's GPU, or on a software device. */
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer, runnerImport } from 'vite';

const demo = dirname(fileURLToPath(import.meta.url));
export const root = resolve(demo, '..');

/** Vite's development server on the demo; `server.resolvedUrls.local[0]` is its address. */
export async function serveDemo() {
  const server = await createServer({
    root: demo,
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'error',
    server: { fs: { allow: [root] } },
  });
  await server.listen();
  return server;
}

/**
 * Runs a function of a demo module in a page, and ends the browser.
 * @param listen  called with what the module passes to `globalThis.report`
 * @throws Error with the message of what went wrong there, or when it takes longer than `limit` milliseconds
 */
export async function runInBrowser(address, { module, name, args, limit, listen = () => {} }) {
  const { module: rig } = await runnerImport(join(root, 'test/rig/browser.ts'));
  const browser = await rig.launchChrome({ asUsers: true, protocolTimeout: limit });
  let timer;
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(limit);
    await page.exposeFunction('report', listen);
    await page.goto(`${address}${module}`); // any page of this origin: modules can be imported from there
    const run = page.evaluate(
      async (path, exported, given) => {
        const loaded = await import(path);
        return loaded[exported](...given).then(
          (value) => ({ value }),
          (error) => ({ error: error.message }), // the message alone: the stack is the page's
        );
      },
      `/${module}`,
      name,
      args,
    );
    const late = new Promise((_, reject) => {
      const message = `The browser gave no result in ${limit / 1000} s: its GPU driver may hang. Try WEBGPU_ADAPTER=swiftshader, the software device.`;
      timer = setTimeout(() => reject(new Error(message)), limit);
    });
    const { value, error } = await Promise.race([run, late]);
    if (error) throw new Error(error);
    return value;
  } finally {
    clearTimeout(timer);
    await rig.endBrowser(browser);
  }
}
