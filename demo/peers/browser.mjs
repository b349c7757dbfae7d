/** A browser for one work, as users' browsers run, with a page for each contestant: what one does to its page or its device is its own affair. */
import { createReadStream, existsSync } from 'node:fs';
import { dirname, extname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer, runnerImport } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const packages = join(here, 'node_modules');
const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };
/** Isolated pages have shared memory, thus threads in WebAssembly, and a clock of 5 µs. */
const ISOLATION = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
const CLOSING_MS = 5000;

/** The project's modules through Vite, the peers' packages byte for byte below /@peers/. */
export async function serve() {
  const peers = {
    name: 'peers',
    configureServer({ middlewares }) {
      middlewares.use('/@peers', sendPackageFile);
    },
  };
  const server = await createServer({
    root: join(root, 'demo'),
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'error',
    plugins: [peers],
    optimizeDeps: { noDiscovery: true, include: [] },
    server: { fs: { allow: [root] }, headers: ISOLATION, hmr: false, watch: null }, // a file saved meanwhile reloads no page
  });
  await server.listen();
  return server;
}

function sendPackageFile(request, response) {
  const file = resolve(packages, `.${decodeURIComponent(new URL(request.url, 'http://x').pathname)}`);
  if (!file.startsWith(packages + sep) || !existsSync(file)) {
    response.statusCode = 404;
    response.end();
    return;
  }
  response.writeHead(200, { ...ISOLATION, 'Content-Type': TYPES[extname(file)] ?? 'text/plain' });
  createReadStream(file).pipe(response);
}

/** @returns what opens contestants' pages, where they are, and what ends the browser */
export async function openBrowser(server, limit) {
  const { module: rig } = await runnerImport(join(root, 'test/rig/browser.ts'));
  const browser = await rig.launchChrome({ asUsers: true, protocolTimeout: 2 * limit }); // the contest's own limit comes first
  const address = server.resolvedUrls.local[0];
  return {
    place: `${await browser.version()} on ${await onStage(await newPage(browser, address), 'adapter')}`,
    open: async (contestant) => pageSeat(await newPage(browser, address), contestant, `${address}@peers`),
    close: () => rig.endBrowser(browser),
  };
}

async function newPage(browser, address) {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(`${address}peers/stage.ts`); // any page of this origin: modules can be imported from there
  return page;
}

/** Calls a function of stage.ts in a page. */
async function onStage(page, name, ...given) {
  const { value, error } = await page.evaluate(
    async (exported, values) => {
      const stage = await import('/peers/stage.ts');
      return stage[exported](...values).then(
        (result) => ({ value: result }),
        (failure) => ({ error: String(failure?.message ?? failure) }), // the message alone: the stack is the page's
      );
    },
    name,
    given,
  );
  if (error) throw new Error(error);
  return value;
}

function pageSeat(page, contestant, packagesAddress) {
  return {
    prepare: (work, rows) => onStage(page, 'prepare', contestant, work, rows, packagesAddress),
    sample: (calls) => onStage(page, 'sample', contestant.name, calls),
    end: async () => {
      let timer;
      const late = new Promise((done) => {
        timer = setTimeout(done, CLOSING_MS); // a page that hangs ends with the browser
      });
      await Promise.race([page.close().catch(() => {}), late]);
      clearTimeout(timer);
    },
  };
}
