/** What `npm run lint:shaders` and a test look at: shaders, their parts, and the lines that stand in two of them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { listedParts, wholeShader } from '../../shaders/parts.ts';
import { projectRoot } from './find-chrome.ts';

const FOLDER = join(projectRoot, 'shaders');
const SHORTEST = 8; // characters of a line that counts
const PASSAGE = 4; // lines of a passage

export interface ShaderFile {
  readonly name: string; // without .wgsl
  readonly text: string;
}

const filesIn = (folder: string): ShaderFile[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.wgsl'))
    .map((name) => ({ name: name.replace('.wgsl', ''), text: readFileSync(join(folder, name), 'utf8') }));

export const kernels = (): ShaderFile[] => filesIn(FOLDER);
export const parts = (): ShaderFile[] => filesIn(join(FOLDER, 'parts'));
export const whole = ({ name }: ShaderFile): string => wholeShader(join(FOLDER, `${name}.wgsl`));

const codeOf = (text: string): string => text.replace(/\/\/.*/g, '');

/** What a file declares at module scope. */
export const declaredIn = (text: string): string[] =>
  [...codeOf(text).matchAll(/^(?:@group\(0\) @binding\(\d\) )?(?:fn|struct|const|alias|var<[^>]*>) (\w+)/gm)].map(([, name]) => name!);

/** The names that a file uses and does not declare at module scope, but members and what its functions declare. */
function usedIn(text: string): Set<string> {
  const code = codeOf(text);
  const words = code.match(/(?<![.\w])[a-zA-Z_]\w*/g) ?? [];
  const locals = [...code.matchAll(/(?:\b(?:let|var(?:<[^>]*>)?) (\w+))|(?:(\w+): )/g)].map(([, variable, member]) => variable ?? member);
  const others = new Set([...declaredIn(text), ...locals]);
  return new Set(words.filter((word) => !others.has(word)));
}

/** What is wrong with the lists of parts: a part that is listed and not used, one that is used and not listed, and a name that a whole shader declares twice. */
export function wrongLists(): string[] {
  const all = parts();
  const declared = new Map(all.map(({ name, text }) => [name, declaredIn(text)]));
  const wrong: string[] = [];
  for (const file of [...kernels(), ...all]) {
    const used = usedIn(file.text);
    const listed = listedParts(file.text);
    for (const part of listed) {
      const names = declared.get(part);
      if (!names) wrong.push(`${file.name} lists ${part}, which is no part`);
      else if (!names.some((name) => used.has(name))) wrong.push(`${file.name} lists ${part}, and uses nothing of it`);
    }
  }
  for (const kernel of kernels()) {
    const text = whole(kernel);
    const names = declaredIn(text);
    for (const name of new Set(names.filter((one, i) => names.indexOf(one) !== i))) wrong.push(`${kernel.name} declares ${name} twice`);
    const reached = new Set([...text.matchAll(/^\/\/! parts\/(\w+)\.wgsl$/gm)].map(([, name]) => name!));
    const used = usedIn(kernel.text);
    const direct = listedParts(kernel.text);
    for (const part of reached) {
      if (!direct.includes(part) && declared.get(part)!.some((name) => used.has(name)))
        wrong.push(`${kernel.name} uses ${part}, and does not list it`);
    }
  }
  return wrong;
}

/**
 * Lines of at least 8 characters: all, those that stand in two files, and those in passages of four such lines that stand in two files.
 * Single lines are mostly grammar, `workgroupBarrier();`. Passages are what a part could say once.
 */
export function repeatedLines(): { readonly all: number; readonly repeated: number; readonly inPassages: number } {
  const isLong = (line: string) => line.length >= SHORTEST;
  const files = [...kernels(), ...parts()].map(({ text }) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter(isLong),
  );
  const repeated = (height: number) => files.map((lines) => repeatedIn(lines, height, files)).reduce((sum, count) => sum + count);
  return { all: files.flat().length, repeated: repeated(1), inPassages: repeated(PASSAGE) };
}

/** How many of a file's lines lie in passages of `height` lines that another file has too. */
function repeatedIn(lines: readonly string[], height: number, files: readonly (readonly string[])[]): number {
  const passagesOf = (file: readonly string[]) => file.map((_, at) => file.slice(at, at + height).join('\n'));
  const others = new Set(files.filter((other) => other !== lines).flatMap(passagesOf));
  const marked = new Set<number>();
  for (const [at, passage] of passagesOf(lines).entries()) {
    if (at + height > lines.length || !others.has(passage)) continue;
    for (let line = at; line < at + height; line++) marked.add(line);
  }
  return marked.size;
}

export const lineCount = ({ text }: ShaderFile): number => text.split('\n').length - 1;
