/** What machine this is, and which of the libraries in the pack it lacks. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { cpus, release, type } from 'node:os';
import { join } from 'node:path';
import type { Machine } from '../records.ts';

const SAY_MS = 15_000;
/** Where containers and distributions keep NVIDIA's driver. */
export const DRIVER_FOLDERS = [
  ...['/usr/local/nvidia/lib64', '/usr/local/nvidia/lib', '/usr/lib64/nvidia', '/usr/lib/x86_64-linux-gnu/nvidia/current'],
].filter((folder) => existsSync(folder));
const MOST_FILES = 120;
const GPU_FIELDS = 'name,driver_version,memory.total,clocks.max.sm,clocks.max.mem';

const ask = (command: string, ...args: string[]): string =>
  spawnSync(command, args, { encoding: 'utf8', timeout: SAY_MS }).stdout?.trim() ?? '';

/** Should no GPU be found, this says what there is of a driver. */
function driverFiles(): string[] {
  const libraries = DRIVER_FOLDERS.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
  const devices = readdirSync('/dev').map((name) => `/dev/${name}`);
  return [...libraries, ...devices].filter((name) => /nvidia|vulkan|\/dri|kfd/i.test(name)).slice(0, MOST_FILES);
}

export function describeMachine(home: string): Machine {
  const processors = cpus();
  return {
    revision: readFileSync(join(home, 'program/revision'), 'utf8').trim(),
    kernel: `${type()} ${release()}`,
    cpu: `${processors.length} × ${processors[0]?.model ?? 'unknown'}`,
    libc: ask('ldd', '--version').split('\n')[0]!,
    node: process.version,
    gpu: ask('nvidia-smi', `--query-gpu=${GPU_FIELDS}`, '--format=csv,noheader'),
    driver: driverFiles(),
    lacking: [],
  };
}

export interface Libraries {
  readonly known: string; // what the machine's linker lists
  readonly lacking: readonly string[];
  readonly folder: string; // which has those
}

/** Links the packed libraries that the machine lacks into a folder of their own. */
export function lackingLibraries(home: string): Libraries {
  const folder = join(home, 'lacking');
  mkdirSync(folder, { recursive: true });
  const known = ask('ldconfig', '-p') || ask('/sbin/ldconfig', '-p');
  const listed = new Set([...known.matchAll(/^\s*(\S+) \(.*x86-64/gm)].map(([, name]) => name));
  const packed = existsSync(join(home, 'lib')) ? readdirSync(join(home, 'lib')) : [];
  const lacking = packed.filter((name) => /\.so\.\d+$/.test(name) && !listed.has(name));
  for (const name of lacking) symlinkSync(join(home, 'lib', name), join(folder, name));
  return { known, lacking, folder };
}
