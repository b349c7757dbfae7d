/**
 * No browser outlives the command that started it. A process that has browsers ends when it is told to, and when npm or whatever else of the command stands
 * above it has ended; and browser-guard.mjs, which outlives it, then ends the browsers, also after a crash.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const LOOK_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const STATE = Symbol.for('webgpu-attention browsers');
const RUNNERS = /(^|[/\0 ])(npm|npx|pnpm|yarn|bun)\b/;
const ownPackage = fileURLToPath(new URL('../../package.json', import.meta.url));

/**
 * Those above this process, from its parent up to npm, or to a command without npm that says so in ATTENTION_COMMAND: a signal may reach them without
 * reaching this one. Empty where there is neither.
 */
const {
  npm_lifecycle_event: script,
  npm_package_json: scriptsPackage,
  npm_config_user_agent: agent,
  ATTENTION_COMMAND: command,
} = process.env;
const ancestors = script || command ? ancestorsToCommand() : [];
/** npm started this with a script of this package, and ended before it could be found above. */
const isLeftByNpm = process.platform === 'linux' && scriptsPackage === ownPackage && agent?.startsWith('npm/') && ancestors.length === 0;

interface State {
  isEnding: boolean;
  guard?: ChildProcess;
}
/** One of a process, however often this module is loaded in it: Vitest loads configurations anew. */
const shared = globalThis as { [STATE]?: State };
shared[STATE] ??= { isEnding: false };
const state = shared[STATE];

/** Makes this process end on signals and with those above it. */
export function endWithCommand(): void {
  if (state.isEnding) return;
  state.isEnding = true;
  // Others listen for signals too, and close servers for as long as that takes.
  for (const signal of SIGNALS) process.prependListener(signal, () => process.exit(128 + constants.signals[signal]));
  const endIfOrphaned = () => {
    if (!isLeftByNpm && ancestors.every((pid, i) => parentOf(i === 0 ? process.pid : ancestors[i - 1]!) === pid)) return;
    console.error('What started this has ended, and so does this.');
    process.exit(1);
  };
  endIfOrphaned();
  setInterval(endIfOrphaned, LOOK_MS).unref();
}

/** Writes a line to the process that outlives this one. */
function tellGuard(...words: readonly string[]): void {
  if (!state.guard) {
    state.guard = spawn(process.execPath, [fileURLToPath(new URL('browser-guard.mjs', import.meta.url))], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true, // not of this process's group, which a signal may end as a whole
    });
    state.guard.unref();
    (state.guard.stdin as Socket).unref();
    state.guard.stdin!.on('error', () => {}); // whoever ended the guard wants no guard
  }
  state.guard.stdin!.write(`${words.join('\t')}\n`);
}

/** A folder for a browser that is about to start. */
export function openProfile(): string {
  endWithCommand();
  const profile = mkdtempSync(join(tmpdir(), 'attention-browser-'));
  tellGuard('+', profile);
  return profile;
}

/** Tells the guard which process it is. */
export const nameBrowser = (profile: string, pid: number | undefined): void => tellGuard('+', profile, String(pid ?? ''));

/** Once the browser has ended. */
export function closeProfile(profile: string): void {
  rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  tellGuard('-', profile);
}

function ancestorsToCommand(): number[] {
  const found: number[] = [];
  for (let pid = parentOf(process.pid); pid; pid = parentOf(pid)) {
    found.push(pid);
    if (pid === Number(command) || isRunner(pid)) return found;
  }
  return process.platform === 'linux' ? [] : found; // elsewhere only the parent is known
}

/** Undefined where that cannot be known: for other processes than this one on systems without /proc. */
function parentOf(pid: number): number | undefined {
  if (pid === process.pid) return process.ppid;
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[1]);
  } catch {
    return undefined;
  }
}

function isRunner(pid: number): boolean {
  try {
    return RUNNERS.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  } catch {
    return true; // it cannot be known: nobody further up is watched
  }
}
