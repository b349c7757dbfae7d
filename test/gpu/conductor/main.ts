/** Runs the sections, each in a process of its own with a limit of its own, and keeps what each has said, whatever becomes of it. */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { endWithCommand } from '../../rig/guard.ts';
import type { State } from '../records.ts';
import { isBad, report } from '../report/report.ts';
import { Runner } from './child.ts';
import { type Found, findGpu } from './find-gpu.ts';
import { describeMachine, lackingLibraries } from './machine.ts';
import { type Options, readOptions, type SectionName } from './options.ts';
import { PLANS, secondsFor } from './sections.ts';

const SAVE_MS = 5000;
const UNSAFE_PROBE = 20; // seconds
const MOST_WORKERS = 12;
const LAST_TESTS = 8; // seconds before the suites' limit

const { GPU_PACK_HOME: home, GPU_PACK_OUT: out, GPU_PACK_STARTED } = process.env;
if (!home || !out) throw new Error('run.sh starts this');

function optionsOrExit(): Options {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

const options = optionsOrExit();
const started = GPU_PACK_STARTED ? 1000 * Number(GPU_PACK_STARTED) : Date.now();
const deadline = started + 60_000 * options.minutes;
const runner = new Runner(join(out, 'log.txt'));
const state: State = {
  date: new Date(started).toISOString(),
  options,
  machine: describeMachine(home),
  attempts: [],
  sections: [],
  rows: [],
};
let savedAt = 0;

function save(): void {
  savedAt = Date.now();
  state.seconds = Math.round((savedAt - started) / 1000);
  writeFileSync(join(out!, 'report.json'), `${JSON.stringify(state, null, 1)}\n`);
  writeFileSync(join(out!, 'report.txt'), `${report(state)}\n`);
}

/** Whatever ends this process ends the section at work, and what was said by then is told. */
process.on('exit', () => {
  runner.end();
  save();
  console.log(report(state));
});
endWithCommand();

function commandOf(name: SectionName, found: Found | undefined, seconds: number): readonly string[] {
  const [script, ...args] = PLANS[name].script;
  const file = join(home!, 'program', script);
  const flags = options.isTiny ? ['--tiny'] : [];
  if (script.endsWith('.py')) return ['python3', file, ...flags];
  const { command } = found!.way;
  if (name !== 'suites') return [...command, file, ...args, ...flags];
  const workers = options.workers ?? Math.max(1, Math.min(MOST_WORKERS, cpus().length - 2));
  return [...command, file, JSON.stringify(command), String(workers), String(Math.floor(seconds - LAST_TESTS))];
}

async function runSection(name: SectionName, found: Found | undefined): Promise<void> {
  const isForGpu = !PLANS[name].script[0].endsWith('.py');
  const seconds = secondsFor(name, options, (deadline - Date.now()) / 1000);
  const skip = seconds === undefined ? 'no time was left' : isForGpu && !found ? 'no GPU that WebGPU reaches' : undefined;
  if (skip || !seconds) {
    state.sections.push({ name, status: `skipped: ${skip}`, seconds: 0 });
    return;
  }
  process.stderr.write(`${name}… `);
  const { said: _, ...result } = await runner.run({
    name,
    command: commandOf(name, found, seconds),
    env: isForGpu ? found!.way.env : {},
    limit: seconds,
    hear: (kind, fields) => {
      state.rows.push({ section: name, kind, ...fields });
      if (Date.now() - savedAt > SAVE_MS) save();
    },
  });
  process.stderr.write(`${result.seconds} s, ${result.status.slice(0, 80)}\n`);
  state.sections.push(result);
  save();
}

/** What the adapter has that browsers give to nobody. */
async function probeUnsafe({ way }: Found): Promise<void> {
  await runner.run({
    name: 'probe: unsafe features',
    command: [...way.command, join(home!, 'program/probe.mjs'), '--unsafe'],
    env: way.env,
    limit: UNSAFE_PROBE * options.stretch,
    hear: (kind, fields) => {
      const { features, subgroupMatrixConfigs } = fields as NonNullable<State['unsafe']>;
      if (kind === 'adapter') state.unsafe = { features, ...(subgroupMatrixConfigs && { subgroupMatrixConfigs }) };
    },
  });
}

const libraries = lackingLibraries(home);
state.machine.lacking = libraries.lacking;
const any = await findGpu({ home, runner, libraries, stretch: options.stretch, attempts: state.attempts });
const found = any?.isSoftware && !options.allowsSoftware ? undefined : any;
if (any) Object.assign(state, { adapter: any.adapter, library: any.library, way: any.way });
if (found) await probeUnsafe(found);
for (const name of options.only) await runSection(name, found);
process.exit(found && !isBad(state) ? 0 : 1);
