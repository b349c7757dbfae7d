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
const RUNNERS = /(^|[/\0 ])(npm|npx|pnpm|yarn)(-cli)?(\.[cm]?js)?([\0 ]|$)/;

/**
 * Those above this process, from its parent up to npm, or to a command without npm that says so in ATTENTION_COMMAND: a signal may reach them without
 * reaching this one. Empty where there is neither.
 */
const { npm_lifecycle_event: script, ATTENTION_COMMAND: command } = process.env;
const ancestors = script || command ? ancestorsToCommand() : [];

let guard: ChildProcess | undefined;

/** Makes this process end on signals and with those above it. */
export function endWithCommand(): void {
  if (guard) return;
  guard = spawn(process.execPath, [fileURLToPath(new URL('browser-guard.mjs', import.meta.url))], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // not of this process's group, which a signal may end as a whole
  });
  guard.unref();
  (guard.stdin as Socket).unref();
  guard.stdin!.on('error', () => {}); // whoever ended the guard wants no guard
  // Others listen for signals too, and close servers for as long as that takes.
  for (const signal of SIGNALS) process.prependListener(signal, () => process.exit(128 + constants.signals[signal]));
  const look = () => {
    if (ancestors.some((pid, i) => parentOf(i === 0 ? process.pid : ancestors[i - 1]!) !== pid)) process.exit(1);
  };
  look();
  setInterval(look, LOOK_MS).unref();
}

/** A folder for a browser that is about to start. */
export function openProfile(): string {
  endWithCommand();
  const profile = mkdtempSync(join(tmpdir(), 'attention-browser-'));
  guard!.stdin!.write(`+\t${profile}\n`);
  return profile;
}

/** Tells the guard which process it is. */
export const nameBrowser = (profile: string, pid: number | undefined): boolean => guard!.stdin!.write(`+\t${profile}\t${pid ?? ''}\n`);

/** Once the browser has ended. */
export function closeProfile(profile: string): void {
  rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  guard!.stdin!.write(`-\t${profile}\n`);
}

function ancestorsToCommand(): number[] {
  const found: number[] = [];
  for (let pid = parentOf(process.pid); pid && pid > 1; pid = parentOf(pid)) {
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
    return false;
  }
}
