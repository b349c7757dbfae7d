import { expect, test } from 'vitest';
import { specialize } from '../../src/gpu/specialize.ts';

const SHADER = '// enable\nalias T = f32; // storage\nconst D: u32 = 64; // head size\nconst CAUSAL: bool = false;\nfn main() {}\n';

test('sets const and alias lines and the enable slot, and moves no line', () => {
  expect(specialize(SHADER, { D: 80, CAUSAL: true, T: 'f16' }, ['f16', 'subgroups'])).toBe(
    'enable f16; enable subgroups;\nalias T = f16; // storage\nconst D: u32 = 80; // head size\nconst CAUSAL: bool = true;\nfn main() {}\n',
  );
});

test('whole lines take the place of those that begin alike', () => {
  const shader = '// enable\nalias UNIT = f32;\nfn load(at: u32) -> f32 { return k[at]; }\nfn load_v(at: u32) {}\n';
  const lines = ['alias UNIT = vec4<f32>;', 'fn load(at: u32) -> f32 { return k[at / 4].x; }'];
  expect(specialize(shader, {}, [], lines)).toBe(`// enable\n${lines.join('\n')}\nfn load_v(at: u32) {}\n`);
  expect(() => specialize(shader, {}, [], ['fn store(at: u32) {}'])).toThrow('no line fn store(');
});

test('a shader built without comments has an empty first line: it is the slot', () => {
  expect(specialize(SHADER.replace('// enable', ''), {}, ['f16']).split('\n')[0]).toBe('enable f16;');
});

test('writes out loops that end in unroll, and moves no line', () => {
  const loop = 'for (var r = 0u; r < WIDTH; r++) { s[r] = s.r + add(r * 2); }';
  const shader = `// enable\nconst ROWS: u32 = 4; // rows\nconst WIDTH: u32 = 2 * ROWS;\nfn main() {\n  ${loop} //! unroll\n  ${loop}\n}\n`;
  const text = specialize(shader, { ROWS: 1 });
  expect(text.split('\n')[4]).toBe('  { s[0u] = s.r + add(0u * 2); } { s[1u] = s.r + add(1u * 2); }');
  expect(text.split('\n')[5]).toBe(`  ${loop}`);
  expect(() => specialize(shader.replace('2 * ROWS', 'ROWS / 2'), {})).toThrow('WIDTH is no product of numbers');
});

test('no shader has a loop marked to be unrolled that specialize leaves', () => {
  const shaders = import.meta.glob<string>(['../../shaders/*.wgsl'], { query: '?raw', import: 'default', eager: true });
  const marked = Object.values(shaders).filter((text) => text.includes('//! unroll'));
  expect(marked.length).toBeGreaterThan(3);
  for (const text of marked) expect(specialize(text, {})).not.toContain('//! unroll');
});

test.each([
  [{ E: 1 }, 'no const or alias E'],
  [{ D: Number.NaN }, 'D = NaN'],
  [{ D: 1e21 }, 'D = 1e+21'],
  [{ T: 'f32; evil' }, 'T = f32; evil'],
])('%j is an error', (values, message) => {
  expect(() => specialize(SHADER, values as Record<string, number>)).toThrow(message);
});

test('no const_assert begins with a bracket that closes before its end: Firefox ends the expression there', () => {
  const shaders = import.meta.glob<string>('../../shaders/*.wgsl', { query: '?raw', import: 'default', eager: true });
  const asserts = Object.values(shaders).flatMap((text) => text.match(/^const_assert.*/gm) ?? []);
  expect(asserts.length).toBeGreaterThan(10);
  const bracket = String.raw`\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)`;
  expect(asserts.filter((line) => new RegExp(`^const_assert ${bracket} *[^; ]`).test(line))).toEqual([]);
  expect(new RegExp(`^const_assert ${bracket} *[^; ]`).test('const_assert (a == 1) && (b == 2);')).toBe(true);
});
