/** Runs tests as suites.ts asks for them on standard input, a line each: { file, from, to }. With --list it says how many tests a file has. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { collectTests, type File, type Suite, startTests, type Task, type Test, type VitestRunner } from '@vitest/runner';
import { HOME, openGpu } from '../sections/dawn.ts';
import { emit, messageOf } from '../sections/say.ts';
import type { Slice } from './slices.ts';

const TEST_MS = 60_000;
const isListing = process.argv.includes('--list');

const config: VitestRunner['config'] = {
  ...{ root: HOME, name: '', setupFiles: [], passWithNoTests: true, allowOnly: false, retry: 0, maxConcurrency: 1, chaiConfig: {} },
  ...{ testTimeout: TEST_MS, hookTimeout: TEST_MS, sequence: { hooks: 'stack', seed: 1, setupFiles: 'list' } },
  ...{ testNamePattern: undefined, includeTaskLocation: false, tags: [], tagsFilter: undefined, strictTags: false },
};

const testsOf = (task: Task): Test[] => (task.type === 'test' ? [task] : task.tasks.flatMap(testsOf));
const suitesOf = (task: Task): Suite[] => (task.type === 'suite' ? [task, ...task.tasks.flatMap(suitesOf)] : []);
const nameOf = (task: Task): string => (task.suite?.name && task.suite !== task.file ? `${nameOf(task.suite)} > ${task.name}` : task.name);

function tell(test: Test): void {
  const state = test.result?.state ?? 'skip';
  const errors = test.result?.errors ?? [];
  const failed = state === 'fail' && { failed: errors.map(messageOf).join(' | ').slice(0, 500) };
  emit('test', { file: test.file.filepath, name: nameOf(test), state, ms: Math.round(test.result?.duration ?? 0), ...failed });
}

let imports = 0;
/** Runs the tests of a file from one number to another. */
const runnerOf = (from: number, to: number): VitestRunner => ({
  config,
  pool: 'none',
  trace: (_name: string, attributes: unknown, body?: () => unknown) => (typeof attributes === 'function' ? attributes() : body!()) as never,
  importFile: (file) => import(/* @vite-ignore */ `${pathToFileURL(join(HOME, 'program/tests', `${file}.mjs`)).href}?${imports++}`),
  onCollected: (files) => {
    for (const [i, test] of files.flatMap(testsOf).entries()) if ((i < from || i >= to) && test.mode === 'run') test.mode = 'skip';
  },
  onBeforeRunTask: (test) => emit('start', { name: nameOf(test) }),
  onAfterRunTask: (test) => test.mode === 'run' && tell(test), // at once: the process may be ended at any time
});

/** What did not run, and hooks that failed. */
function tellRest(files: readonly File[], { file, from, to }: Slice): void {
  for (const test of files.flatMap(testsOf).slice(from, to)) if (test.mode !== 'run') tell(test);
  for (const { name, result } of files.flatMap(suitesOf))
    if (result?.errors?.length) emit('test', { file, name: `${name}: hooks`, state: 'fail', failed: messageOf(result.errors[0]) });
}

async function serve(slice: Slice): Promise<void> {
  const { file, from = 0, to = Number.POSITIVE_INFINITY } = slice;
  try {
    if (isListing) {
      const files = await collectTests([file], runnerOf(from, to));
      const [error] = files[0]?.result?.errors ?? [];
      emit('file', { file, tests: files.flatMap(testsOf).length, ...(error && { failed: messageOf(error) }) });
      return;
    }
    tellRest(await startTests([file], runnerOf(from, to)), slice);
    emit('unit', slice);
  } catch (error) {
    emit(isListing ? 'file' : 'unit', { ...slice, tests: 0, failed: messageOf(error) });
  }
}

/** The outside cases, which a browser asks the tests' server for, are in the pack. */
const { fetch } = globalThis;
globalThis.fetch = async (input, init) => {
  const [, path] = String(input).match(/^\/@outside-cases\/(.*)/) ?? [];
  return path === undefined ? fetch(input, init) : new Response(new Uint8Array(await readFile(join(HOME, 'cases', path))));
};
await openGpu([], true);
for await (const line of createInterface({ input: process.stdin })) await serve(JSON.parse(line) as Slice);
process.exit(0);
