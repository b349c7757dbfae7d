/** Serves folders over HTTP on this machine, as any static host would. */
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, resolve } from 'node:path';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.wgsl': 'text/plain; charset=utf-8',
};

/** @param mounts folders, or the text of single pages, by the path where they are served: `{ '/some/base/': folder, '/': '<!doctype html>…' }` */
export async function serve(mounts: Readonly<Record<string, string>>): Promise<{ origin: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    const page = mounts[path];
    if (page?.startsWith('<')) {
      response.setHeader('content-type', TYPES['.html']!);
      response.end(page);
      return;
    }
    const file = find(mounts, path);
    if (!file) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader('content-type', TYPES[extname(file)] ?? 'application/octet-stream');
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((done) => server.listen(0, 'localhost', done));
  return { origin: `http://localhost:${(server.address() as AddressInfo).port}`, close: () => close(server) };
}

function find(mounts: Readonly<Record<string, string>>, path: string): string | undefined {
  for (const [base, folder] of Object.entries(mounts)) {
    if (folder.startsWith('<') || !path.startsWith(base)) continue;
    const file = resolve(join(folder, path.slice(base.length) || 'index.html'));
    if (file.startsWith(resolve(folder)) && existsSync(file) && statSync(file).isFile()) return file;
  }
  return undefined;
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((done) => server.close(() => done()));
}
