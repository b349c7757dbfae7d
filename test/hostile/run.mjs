/** `npm run test:hostile -- --cases 5000 --seed 7`: public functions with arguments that nobody means; `--path` repeats a case that failed. */
import { fileURLToPath } from 'node:url';
import { startVitest } from 'vitest/node';
import { readRandomOptions } from '../rig/random-command.mjs';

readRandomOptions('test:hostile', 'VITE_HOSTILE');

process.chdir(fileURLToPath(new URL('../..', import.meta.url)));
const vitest = await startVitest('test', ['test/contract/hostile-random.test.ts'], { project: ['browser'], watch: false });
await vitest.close();
process.exit(process.exitCode ?? 0);
