/** Shaders and their parts: what a header lists is what the shader uses. */
import { expect, test } from 'vitest';
import { listedParts, wholeShader } from '../../shaders/parts.ts';
import { kernels, lineCount, parts, wrongLists } from '../rig/shader-lines.ts';

test('every list names the parts that the file uses, and no name is declared twice', () => {
  expect(wrongLists()).toEqual([]);
});

test('every part is in a kernel', () => {
  const used = new Set([...kernels(), ...parts()].flatMap(({ text }) => listedParts(text)));
  expect(parts().filter(({ name }) => !used.has(name))).toEqual([]);
});

test('a kernel has at most 400 lines, and a part at most 80', () => {
  expect(kernels().filter((kernel) => lineCount(kernel) > 400)).toEqual([]);
  expect(parts().filter((part) => lineCount(part) > 80)).toEqual([]);
});

test('parts that parts name come once, in the order in which they are named, and no line of the kernel moves', () => {
  const files: Record<string, string> = {
    'shaders/a.wgsl': '// enable\n// a: a kernel.\n// Parts: x, y.\n\nfn main() {}\n',
    'shaders/parts/x.wgsl': '// x: a part.\n// Parts: z, y.\n\nfn x() {}\n',
    'shaders/parts/y.wgsl': '// y: a part.\n',
    'shaders/parts/z.wgsl': '// z: a part.\n',
  };
  const whole = wholeShader('shaders/a.wgsl', (path) => files[path]!);
  expect(whole.startsWith(files['shaders/a.wgsl']!)).toBe(true);
  expect(whole.match(/^\/\/! .*$/gm)).toEqual(['//! parts/x.wgsl', '//! parts/z.wgsl', '//! parts/y.wgsl']);
});
