/**
 * Shaders are joined from parts when the package is built or served. The line `// Parts: grid, mask.` of a kernel's header stands for
 * `shaders/parts/grid.wgsl` and `shaders/parts/mask.wgsl`, and for the parts that they name in turn. Each part comes once.
 *
 * The kernel's own text comes first, and each part follows behind a line `//! parts/grid.wgsl`. WGSL takes declarations in any order. So no line of the
 * kernel moves, and the file of any other line is told by the nearest such line above it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** The parts that a file's header lists. */
export const listedParts = (text: string): string[] => text.match(/^\/\/ Parts: (?<names>.*)\.$/m)?.groups?.names?.split(', ') ?? [];

/**
 * A kernel's whole text.
 * @param file its path
 * @param read gives the text of a file
 */
export function wholeShader(file: string, read = (path: string): string => readFileSync(path, 'utf8')): string {
  const kernel = read(file);
  const parts = new Map<string, string>();
  const add = (text: string) => {
    for (const name of listedParts(text)) {
      if (parts.has(name)) continue;
      const part = read(join(dirname(file), 'parts', `${name}.wgsl`));
      parts.set(name, part);
      add(part);
    }
  };
  add(kernel);
  return [kernel, ...[...parts].map(([name, text]) => `\n//! parts/${name}.wgsl\n${text}`)].join('');
}

/** Takes comments and indentation out. Lines stay where they are, no name changes, and marks for the build, `//! …`, stay. */
const strip = (wgsl: string): string => wgsl.replace(/[ \t]*(\/\/(?!!).*)?$/gm, '').replace(/^[ \t]+/gm, '');

/**
 * Gives `import('x.wgsl?raw')` the whole shader, in a build without its comments.
 * @param strips whether a build takes the comments out: tests of the shaders' text want them
 * @param publishes whether a build also writes every kernel whole, with its comments, to `shaders/`: for those who bring a host layer of their own
 */
export function shaders({ strips = true, publishes = false } = {}): Plugin {
  let isStripping = false;
  return {
    name: 'shaders',
    enforce: 'pre', // before Vite's own ?raw
    config: (_, { command }) => {
      isStripping = strips && command === 'build';
    },
    load: {
      filter: { id: /\.wgsl\?raw$/ },
      handler(id) {
        const text = wholeShader(id.replace(/\?raw$/, ''), (path) => {
          this.addWatchFile(path);
          return readFileSync(path, 'utf8');
        });
        return `export default ${JSON.stringify(isStripping ? strip(text) : text)};`;
      },
    },
    generateBundle() {
      if (!publishes) return;
      for (const fileName of readdirSync(FOLDER).filter((name) => name.endsWith('.wgsl')))
        this.emitFile({ type: 'asset', fileName: `shaders/${fileName}`, source: wholeShader(join(FOLDER, fileName)) });
    },
  };
}
