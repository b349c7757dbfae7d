/** Looks for a GPU that WebGPU reaches: which C library to start Node on, and which description of a Vulkan driver to give it. */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Attempt, FoundAdapter, FoundLibrary, Way } from '../records.ts';
import type { Runner } from './child.ts';
import { DRIVER_FOLDERS, type Libraries } from './machine.ts';

const { GPU_PACK_LIBRARY_PATH, GPU_PACK_LOADER, LD_LIBRARY_PATH, VK_DRIVER_FILES, VK_ICD_FILENAMES } = process.env;

const SYSTEM_FOLDERS = ['/lib/x86_64-linux-gnu', '/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/lib64'];
const DESCRIPTION_FOLDERS = [
  ...['/etc/vulkan/icd.d', '/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d'],
  ...['/usr/local/nvidia/share/vulkan/icd.d', '/usr/local/nvidia/etc/vulkan/icd.d', '/usr/lib64/nvidia/vulkan/icd.d'],
];
/** NVIDIA's driver, with and without a window system. */
const DRIVER_LIBRARIES = ['libGLX_nvidia.so.0', 'libEGL_nvidia.so.0'];
const PROBE = 25; // seconds
const SEARCH = 100;
const START_MS = 60_000;

export interface Found {
  readonly way: Way;
  readonly isSoftware: boolean;
  readonly adapter: FoundAdapter;
  readonly library?: FoundLibrary;
}

/** Node on this machine's own C library, which its driver fits; then on the one in the pack. */
function waysToStart(home: string, { folder }: Libraries): Way[] {
  const given = [GPU_PACK_LIBRARY_PATH, LD_LIBRARY_PATH, ...DRIVER_FOLDERS].filter((path): path is string => Boolean(path));
  const packed = [...given, join(home, 'libc'), join(home, 'lib'), ...SYSTEM_FOLDERS.filter((path) => existsSync(path))];
  const node = join(home, 'bin/node');
  const loader = GPU_PACK_LOADER ?? join(home, 'libc/ld-linux-x86-64.so.2');
  const ways: Way[] = [
    { name: 'the machine’s C library', command: [node], env: { LD_LIBRARY_PATH: [...given, folder].join(':') } },
    { name: 'the packed C library', command: [loader, '--library-path', packed.join(':'), node], env: {} },
  ];
  return ways.filter(({ command: [program, ...args], env }) => {
    const { status } = spawnSync(program, [...args, '-v'], { timeout: START_MS, env: { ...process.env, ...env } });
    return status === 0;
  });
}

/** Descriptions of Vulkan drivers: '' for the machine's own list, then NVIDIA's where it is usually kept, then ones written here. */
function descriptions(home: string, { known }: Libraries): string[] {
  if (VK_DRIVER_FILES || VK_ICD_FILENAMES) return [''];
  const files = DESCRIPTION_FOLDERS.map((folder) => join(folder, 'nvidia_icd.json')).filter((file) => existsSync(file));
  return ['', ...files, ...DRIVER_LIBRARIES.map((name) => describe(home, name, known))];
}

function describe(home: string, name: string, known: string): string {
  const listed = known.split('\n').find((line) => line.trim().startsWith(`${name} `));
  const beside = DRIVER_FOLDERS.map((folder) => join(folder, name)).find((file) => existsSync(file));
  const library = listed?.split('=> ')[1]?.trim() ?? beside ?? name;
  const file = join(home, `${name}.json`);
  writeFileSync(file, JSON.stringify({ file_format_version: '1.0.1', ICD: { library_path: library, api_version: '1.3.277' } }));
  return file;
}

const isSoftware = ({ info }: FoundAdapter): boolean =>
  Boolean(info.isFallbackAdapter) || /llvmpipe|lavapipe|swiftshader/i.test(String(info.description));

interface Search {
  readonly home: string;
  readonly runner: Runner;
  readonly libraries: Libraries;
  readonly stretch: number;
  readonly attempts: Attempt[]; // that come to be
}

async function tryOne({ home, runner, stretch, attempts }: Search, start: Way, driver: string): Promise<Found | undefined> {
  const way = { ...start, env: { ...start.env, ...(driver && { VK_DRIVER_FILES: driver }) } };
  const heard: Record<string, unknown> = {};
  const { status, said } = await runner.run({
    name: `probe: ${way.name} ${driver}`,
    command: [...way.command, join(home, 'program/probe.mjs')],
    env: { ...way.env, VK_LOADER_DEBUG: 'error,warn' },
    limit: PROBE * stretch,
    hear: (kind, fields) => {
      heard[kind] = fields;
    },
  });
  const { adapter, library } = heard as Partial<Found>;
  const name = adapter ? `${adapter.info.vendor ?? ''} ${adapter.info.description ?? ''}`.trim() : '';
  attempts.push({ way: way.name, driver, status, said, adapter: name });
  return adapter && { way, adapter, isSoftware: isSoftware(adapter), ...(library && { library }) };
}

/** The first way that finds a GPU; without one, the first that finds an adapter at all. */
export async function findGpu(search: Search): Promise<Found | undefined> {
  const end = Date.now() + 1000 * SEARCH * search.stretch;
  let software: Found | undefined;
  for (const start of waysToStart(search.home, search.libraries))
    for (const driver of descriptions(search.home, search.libraries)) {
      if (Date.now() > end) return software;
      const found = await tryOne(search, start, driver);
      if (found && !found.isSoftware) return found;
      software ??= found;
    }
  return software;
}
