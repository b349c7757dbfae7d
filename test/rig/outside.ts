/**
 * Where the material from outside is: test cases (ATTENTION_CASES) and the GPU lab (GPU_LAB). It is not part of the project;
 * tests that need it are skipped where it is absent, and say which variable to set.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Plugin } from 'vite';
import { projectRoot } from './find-chrome.ts';

const folder = (variable: string, sibling: string): string | undefined => {
  const path = resolve(process.env[variable] ?? join(projectRoot, '../shared', sibling));
  return existsSync(path) ? path : undefined;
};

export const casesFolder = folder('ATTENTION_CASES', 'cases');

/** Lets tests in the browser import the outside cases: `import { casesBase } from 'virtual:outside-cases'`, null where they are absent. */
export function casesPlugin(): Plugin {
  const id = 'virtual:outside-cases';
  return {
    name: 'outside-cases',
    resolveId: (source) => (source === id ? `\0${id}` : undefined),
    load: (source) =>
      source === `\0${id}` ? `export const casesBase = ${JSON.stringify(casesFolder ? '/@outside-cases/' : null)};` : undefined,
    configureServer(server) {
      server.middlewares.use('/@outside-cases/', (request, response) => {
        const file = resolve(join(casesFolder ?? '', decodeURIComponent(new URL(request.url ?? '', 'http://x').pathname)));
        if (!casesFolder || !file.startsWith(casesFolder) || !existsSync(file)) {
          response.statusCode = 404;
          response.end();
          return;
        }
        response.end(readFileSync(file));
      });
    },
  };
}
