/** Archives for run.sh to unpack. */
import { spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';

const LIMIT_MS = 600_000;

/** Puts files of a folder into one archive. It is there whole, or not at all. */
export function compress(folder, names, archive) {
  const part = `${archive}.part`;
  const options = ['--sort=name', '--owner=0', '--group=0', '--use-compress-program=xz -6 -T0'];
  const { status, stderr } = spawnSync('tar', [...options, '-C', folder, '-cf', part, ...names], { encoding: 'utf8', timeout: LIMIT_MS });
  if (status !== 0) throw new Error(`tar could not write ${archive}: ${stderr}`);
  renameSync(part, archive);
}
