/**
 * Runs the tests of one mutant after another, as `run.mjs` sends their numbers, and answers each with the exit status and what was printed.
 * Vitest is loaded once: starting it for every mutant takes a core as long as most of the tests.
 */
import { Writable } from 'node:stream';
import { startVitest } from 'vitest/node';

process.on('disconnect', () => process.exit(1)); // whoever sends the numbers has ended
process.on('message', async (mutant) => {
  process.env.MUTANT = String(mutant); // for vitest.config.ts, which is loaded anew
  let output = '';
  const stream = new Writable({
    write(chunk, _, done) {
      output += chunk;
      done();
    },
  });
  const vitest = await startVitest('test', [], { config: 'test/mutants/vitest.config.ts' }, {}, { stdout: stream, stderr: stream });
  await vitest.close();
  const status = process.exitCode ?? 0;
  process.exitCode = 0;
  process.send({ status, output });
});
