/** The folders of src: each imports only from those above it, and no file imports itself by way of others. src/README.md says what each is for. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../rig/find-chrome.ts';

/** From the ground up. '' is src itself, which imports from every room. */
const ROOMS = ['contract', 'reference', 'gpu', 'kernels', 'tiles', 'plan', 'training', ''];
const source = join(projectRoot, 'src');

/** What a file imports, by name and by import(), types too. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(source, file), 'utf8');
  return [...text.matchAll(/\b(?:from|import|import\() ?'(\.[^']+\.ts)'/g)].map(([, path]) => join(dirname(file), path!));
}

const imports = new Map(
  readdirSync(source, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [file, importsOf(file)] as const),
);
const roomOf = (file: string): string => (dirname(file) === '.' ? '' : dirname(file));

/** The first way found from a file back to itself. */
function findCircle(file: string, way: readonly string[], done: Set<string>): readonly string[] | undefined {
  if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
  if (done.has(file)) return undefined;
  for (const next of imports.get(file)!) {
    const circle = findCircle(next, [...way, file], done);
    if (circle) return circle;
  }
  done.add(file);
  return undefined;
}

test('each room imports only from those above it, and none of them from the reference', () => {
  const all = [...imports].flatMap(([file, targets]) => targets.map((target) => [file, target] as const));
  const isWrong = ([file, target]: readonly [string, string]) => {
    const [from, to] = [roomOf(file), roomOf(target)];
    return from !== to && (to === 'reference' || ROOMS.indexOf(to) > ROOMS.indexOf(from));
  };
  expect([...imports.keys()].map(roomOf).filter((room) => !ROOMS.includes(room))).toEqual([]);
  expect(all.length).toBeGreaterThan(imports.size); // they are found
  expect(all.filter(isWrong).map((pair) => pair.join(' → '))).toEqual([]);
});

test('no file imports itself by way of others', () => {
  const done = new Set<string>();
  const circles = [...imports.keys()].map((file) => findCircle(file, [], done)).filter(Boolean);
  expect(circles[0]).toBeUndefined();
});
