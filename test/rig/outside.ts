/**
 * Where the material from outside is: test cases (ATTENTION_CASES) and the GPU lab (GPU_LAB). It is not part of the project;
 * what needs it is skipped where it is absent, and says which variable to set.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Plugin } from 'vite';
import { projectRoot } from './find-chrome.ts';

const folder = (variable: string, sibling: string): string | undefined => {
  const named = process.env[variable];
  if (named && !existsSync(named)) throw new Error(`${variable} is ${JSON.stringify(named)}: there is no such folder`);
  const path = resolve(named || join(projectRoot, '../shared', sibling));
  return existsSync(path) ? path : undefined;
};

export const casesFolder = folder('ATTENTION_CASES', 'cases');
export const labFolder = folder('GPU_LAB', 'tools/gpu-lab');

/** Lets tests in the browser import where the outside cases are served, and which there are: see virtual.d.ts. */
export function casesPlugin(): Plugin {
  const id = 'virtual:outside-cases';
  const names = (folder: string) =>
    (existsSync(join(casesFolder!, folder)) ? readdirSync(join(casesFolder!, folder)) : [])
      .filter((name) => name.endsWith('.json') && existsSync(join(casesFolder!, folder, name.replace('.json', '.bin'))))
      .map((name) => `${folder}/${name.replace('.json', '')}`);
  const folders = ['torch', 'onnx/attention', 'onnx/softmax', 'real'];
  const cases = () => Object.fromEntries(folders.map((folder) => [folder, casesFolder ? names(folder) : []]));
  return {
    name: 'outside-cases',
    resolveId: (source) => (source === id ? `\0${id}` : undefined),
    load: (source) =>
      source === `\0${id}`
        ? `export const casesBase = ${JSON.stringify(casesFolder ? '/@outside-cases/' : null)};
export const cases = ${JSON.stringify(cases())};`
        : undefined,
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
