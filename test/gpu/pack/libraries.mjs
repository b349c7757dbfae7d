/** Libraries that a machine with a GPU may lack: the Vulkan loader, what drivers need beside it, a C library. From Debian's packages, unpacked and not installed. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export const PACKAGES = [
  ...['libvulkan1', 'libglvnd0', 'libegl1', 'libgl1', 'libglx0', 'libx11-6', 'libxext6', 'libxcb1', 'libxau6', 'libxdmcp6'],
  ...['libbsd0', 'libmd0', 'libstdc++6', 'libgcc-s1', 'libc6'],
];
/** The C library, in a folder of its own: it fits only its own loader. */
const LIBC = /^(ld-linux-x86-64\.so\.2|lib(c|m|dl|pthread|rt|resolv|nss_files|nss_dns|util)\.so\.\d+)$/;
/** What else libc6 has. */
const USELESS = /^lib(c_malloc_debug|BrokenLocale|anl|memusage|pcprofile|mvec|nsl|nss_|thread_db|SegFault|crypt)/;
const LIMIT_MS = 300_000;

/**
 * Puts them into the folders lib and libc of a folder.
 * @returns whether they could be had
 */
export function fetchLibraries(folder, cache) {
  const lists = join(cache, 'apt');
  const packages = join(cache, 'debs');
  rmSync(packages, { recursive: true, force: true });
  for (const path of [join(lists, 'partial'), packages]) mkdirSync(path, { recursive: true });
  const options = [
    '-qq',
    '-oAPT::Architecture=amd64',
    '-oAPT::Architectures=amd64',
    `-oDir::State::Lists=${lists}`,
    '-oAPT::Sandbox::User=root',
  ];
  const call = (command, ...args) =>
    spawnSync(command, args, { cwd: packages, stdio: ['ignore', 'ignore', 'inherit'], timeout: LIMIT_MS }).status === 0;
  if (!call('apt-get', ...options, 'update') || !call('apt-get', ...options, 'download', ...PACKAGES)) {
    console.error('Without Vulkan’s loader and a C library: apt-get could not download them. A machine that has both does not need them.');
    return false;
  }
  for (const file of readdirSync(packages).filter((name) => name.endsWith('.deb')))
    if (!call('dpkg', '-x', file, 'root')) throw new Error(`dpkg could not unpack ${file}`);
  copyLibraries(join(packages, 'root'), folder);
  rmSync(packages, { recursive: true });
  return true;
}

function copyLibraries(from, folder) {
  for (const name of ['lib', 'libc']) mkdirSync(join(folder, name), { recursive: true });
  const sources = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu'].map((path) => join(from, path));
  for (const source of sources.filter((path) => existsSync(path)))
    for (const name of readdirSync(source).filter((entry) => /\.so(\.|$)/.test(entry))) {
      if (LIBC.test(name)) copyFileSync(join(source, name), join(folder, 'libc', name));
      else if (!USELESS.test(name) && /\.so\.\d+$/.test(name)) copyFileSync(join(source, name), join(folder, 'lib', name));
    }
}
