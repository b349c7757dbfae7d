/**
 * A process that outlives the one that started it, and then ends that one's browsers, whatever ended it: a signal, a crash, SIGKILL.
 * Lines on standard input: `+ profile`, the folder that a browser is about to be started with; `+ profile pid`, once it has been; `- profile`, when
 * it has ended.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

const PAUSE_MS = 100;
const QUIET_ROUNDS = 3; // a browser that was being started may not show yet
const hasProc = existsSync('/proc/self/cmdline');

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {}); // they are meant for the others of the group

const browsers = new Map(); // by profile: the browser's process, once it is known
for await (const line of createInterface({ input: process.stdin })) {
  const [sign, profile, pid] = line.split('\t');
  if (sign === '+') browsers.set(profile, pid);
  else browsers.delete(profile);
}
for (let quiet = 0; quiet < QUIET_ROUNDS && browsers.size > 0; quiet++) {
  const ended = (hasProc ? leadersByProfile() : [...browsers.values()]).filter((pid) => pid && endGroup(Number(pid)));
  if (ended.length > 0) quiet = -1;
  await pause(PAUSE_MS);
}
for (const profile of browsers.keys()) rmSync(profile, { recursive: true, force: true, maxRetries: 5 });

/** Processes that were started with one of the profiles and lead a group. */
function leadersByProfile() {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const [, , group] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' '); // proc(5): state, parent, group
      return group === pid && [...browsers.keys()].some((profile) => command.includes(profile));
    } catch {
      return false; // it ended meanwhile
    }
  });
}

/** @returns whether there was one */
function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL'); // puppeteer gives a browser a group of its own
    return true;
  } catch {
    return false;
  }
}
