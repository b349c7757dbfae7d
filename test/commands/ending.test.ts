/** Commands that are ended in the middle, in every way: no process of theirs is left, and no browser's profile. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { projectRoot } from '../rig/find-chrome.ts';

const MARK = 'WEBGPU_ATTENTION_ENDING';

interface Run {
  readonly child: ChildProcess;
  readonly folder: string; // where it puts what is temporary: that says which processes are its
  output: string;
  readonly ended: Promise<unknown>;
}

/** Starts a command, which finds no variable of the tests' own. */
function start(command: string, args: readonly string[]): Run {
  const folder = mkdtempSync(join(tmpdir(), 'ending-'));
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|VITE_|NODE_ENV|NODE_OPTIONS|npm_|ATTENTION_COMMAND)/.test(name)),
  );
  const child = spawn(command, args, { cwd: projectRoot, env: { ...environment, TMPDIR: folder, [MARK]: folder }, detached: true });
  const run: Run = { child, folder, output: '', ended: new Promise((done) => child.on('exit', done)) };
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk) => (run.output += chunk));
  return run;
}

/** The command lines of a run's processes, by process. Children have the environment of whoever started them, browsers' own ones too. */
function processesOf({ folder }: Run): Map<number, string> {
  const read = (pid: string, file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8').replaceAll('\0', ' ').trim();
  const found = new Map<number, string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      if (read(pid, 'environ').includes(`${MARK}=${folder}`)) found.set(Number(pid), read(pid, 'cmdline'));
    } catch {
      // it ended meanwhile
    }
  return found;
}

const isBrowser = (command: string) => command.includes('--user-data-dir=') && !command.includes('--type=');

/** Waits until a run has a browser, and what it says then. */
async function browserOf(run: Run, says: RegExp): Promise<void> {
  while (!([...processesOf(run).values()].some(isBrowser) && says.test(run.output))) {
    if (run.child.exitCode !== null) throw new Error(`it ended by itself:\n${run.output}`);
    await pause(50);
  }
}

/** Waits until nothing of a run is left. */
async function expectNothing(run: Run): Promise<void> {
  await run.ended;
  while (processesOf(run).size > 0) await pause(50); // who outlives it for long is told by the test's limit
  expect(readdirSync(run.folder).filter((name) => /browser|chrom|profile|puppeteer/i.test(name))).toEqual([]);
  rmSync(run.folder, { recursive: true });
}

/** What a terminal sends to all of a command's processes, and what else ends npm alone. The last is as good as a crash: nothing of npm's runs any more. */
const WAYS = [
  ['SIGINT', 'all'],
  ['SIGTERM', 'npm'],
  ['SIGHUP', 'npm'],
  ['SIGKILL', 'npm'],
] as const;
const COMMANDS: readonly [string, readonly string[]][] = [
  ['npm test', ['test', '--', 'test/kernels/flash_forward.test.ts']],
  ['npm run bench', ['run', 'bench', '--', '--lengths', '4096', '--heads', '4']],
];

describe.skipIf(process.platform !== 'linux')('nothing is left', () => {
  describe.each(COMMANDS)('of %s', (_, args) => {
    test.each(WAYS)('after %s to %s', async (signal, to) => {
      const run = start('npm', args);
      await browserOf(run, /\[browser\] .*WebGPU on/);
      process.kill(to === 'all' ? -run.child.pid! : run.child.pid!, signal);
      await expectNothing(run);
      expect(run.output).not.toMatch(/\d passed|Written:/); // it was in the middle
    });
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const)(
    'after %s to the process that starts the browser, while it does',
    async (signal) => {
      const run = start(process.execPath, ['demo/start.mjs']);
      await browserOf(run, /^/);
      run.child.kill(signal);
      await expectNothing(run);
      expect(run.output).not.toContain('The demo page');
    },
  );

  test.each(['SIGTERM', 'SIGKILL'] as const)('after %s to a command that runs Vitest, without npm', async (signal) => {
    const run = start(process.execPath, ['test/rig/faults/run.mjs']);
    await browserOf(run, /^/);
    run.child.kill(signal);
    await expectNothing(run);
    expect(run.output).not.toMatch(/\d passed/);
  });

  test('after an error that nobody caught', async () => {
    const fault = 'data:text/javascript,process.once("SIGUSR2",()=>{throw new Error("on purpose")})';
    const run = start(process.execPath, ['--import', fault, 'demo/bench.mjs', '--lengths', '4096']);
    await browserOf(run, /\[browser\]/);
    run.child.kill('SIGUSR2');
    await expectNothing(run);
    expect(run.output).toContain('on purpose');
  });
});
