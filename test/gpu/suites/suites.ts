/**
 * `suites.mjs COMMAND WORKERS SECONDS`: the project's own tests, in slices, by several workers. One that hangs or crashes is replaced. COMMAND starts Node,
 * as a JSON list.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { endWithCommand } from '../../rig/guard.ts';
import type { Fields } from '../records.ts';
import { HOME } from '../sections/dawn.ts';
import { emit, MARK } from '../sections/say.ts';
import { inOrder, type Slice, slicesOf } from './slices.ts';

type Said = Fields & { readonly kind: string };

const command: readonly [string, ...string[]] = JSON.parse(process.argv[2]!);
const count = Number(process.argv[3]);
const end = Date.now() + 1000 * Number(process.argv[4]);
const SILENCE_MS = 90_000; // longer than a test's own limit
const GRACE_MS = 5000; // for tests under way when the time is up

/** A process that runs tests. */
class Worker {
  private readonly child: ChildProcessWithoutNullStreams;
  private complaint = '';
  /** Why it ended. */
  readonly gone: Promise<string>;

  constructor(hear: (said: Said) => void, ...args: string[]) {
    const [program, ...rest] = command;
    this.child = spawn(program, [...rest, join(HOME, 'program/worker.mjs'), ...args]);
    this.child.stdin.on('error', () => {}); // its end says more
    this.child.stderr.on('data', (data) => {
      this.complaint = (this.complaint + data).slice(-1500);
      process.stderr.write(data);
    });
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      if (line.startsWith(MARK)) hear(JSON.parse(line.slice(MARK.length)));
    });
    this.gone = new Promise((resolve) => {
      this.child.on('error', ({ message }) => resolve(message));
      this.child.on('close', (code, signal) =>
        resolve(`${signal ?? code} ${this.complaint.trim().split('\n').at(-1) ?? ''}`.slice(0, 200)),
      );
    });
  }

  ask(what: Partial<Slice>): void {
    this.child.stdin.write(`${JSON.stringify(what)}\n`);
  }

  close(): void {
    this.child.stdin.end();
  }

  stop(): void {
    this.child.kill('SIGKILL');
  }
}

/** Every test there is, in slices. */
async function list(files: readonly string[]): Promise<Slice[]> {
  const found = new Map<string, Slice[]>();
  const lister = new Worker(({ kind, file = '', tests = 0, failed }) => {
    if (kind !== 'file') return;
    if (failed) emit('test', { file, name: 'the file', state: 'fail', failed });
    found.set(file, slicesOf(file, tests));
    if (found.size === files.length) lister.close();
  }, '--list');
  for (const file of files) lister.ask({ file });
  const timer = setTimeout(() => lister.stop(), Math.max(0, end - Date.now()));
  const reason = await lister.gone;
  clearTimeout(timer);
  for (const file of files) if (!found.has(file)) emit('test', { file, name: 'the file', state: 'fail', failed: `not listed: ${reason}` });
  return files.flatMap((file) => found.get(file) ?? []);
}

/** Gives one worker slices until none is left, the time is up, or it ends. */
async function employ(slices: Slice[]): Promise<void> {
  let slice: Slice | undefined;
  let running = '';
  let timer: ReturnType<typeof setTimeout>;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      running += ' (hung)';
      worker.stop();
    }, SILENCE_MS);
  };
  const fail = ({ file, from, to }: Slice, where: string, failed: string) =>
    emit('test', { file, name: `tests ${from} to ${to}${where}`, state: 'fail', failed });
  const next = () => {
    slice = Date.now() < end ? slices.shift() : undefined;
    if (slice) worker.ask(slice);
    else worker.close();
    wait();
  };
  const worker = new Worker(({ kind, ...said }) => {
    wait();
    if (kind === 'start') running = said.name ?? '';
    else if (kind === 'test') emit('test', said);
    else if (kind === 'unit') {
      if (said.failed) fail(slice!, '', said.failed);
      next();
    }
  });
  next();
  const reason = await worker.gone;
  clearTimeout(timer!);
  if (slice) fail(slice, `, at “${running}”`, `the process ended: ${reason}`);
}

async function work(slices: Slice[]): Promise<void> {
  while (slices.length > 0 && Date.now() < end) await employ(slices);
}

endWithCommand();
const names = readdirSync(join(HOME, 'program/tests'), { recursive: true }).map(String);
const files = inOrder(names.filter((name) => name.endsWith('.test.mjs')).map((name) => name.replace('.mjs', '')));
const slices = await list(files);
emit('note', { tests: slices.reduce((sum, { from, to }) => sum + to - from, 0) });
const tooLate = new Promise((resolve) => setTimeout(resolve, Math.max(0, end - Date.now()) + GRACE_MS));
await Promise.race([Promise.all(Array.from({ length: count }, () => work(slices))), tooLate]);
emit('done', {});
process.exit(0);
