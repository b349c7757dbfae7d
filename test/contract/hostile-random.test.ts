/** `npm run test:hostile -- --cases 5000 --seed 7`: every public function with arguments that are changed at random. A case that fails is shrunk and printed. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OPERATIONS } from '../hostile/calls.ts';
import { type Context, makeContext } from '../hostile/context.ts';
import { hostileCase, type Outcome, runCase } from '../hostile/random.ts';
import { makeSurroundings } from '../hostile/values.ts';
import { sharedAttention } from '../rig/gpu.ts';

const CASES = Number(import.meta.env.VITE_HOSTILE_CASES ?? 150);
const SEED = Number(import.meta.env.VITE_HOSTILE_SEED ?? 1);
const PATH = import.meta.env.VITE_HOSTILE_PATH as string | undefined;
const EACH = 50; // cases of a test: whoever waits sees that it goes on

describe(`${CASES} cases, seed ${SEED}`, () => {
  let context: Context;
  const uncaptured: string[] = [];
  const counts: Record<'tried' | Outcome, number> = { tried: 0, rejected: 0, right: 0, taken: 0 };
  const listener = ({ error }: GPUUncapturedErrorEvent) => uncaptured.push(error.message);

  beforeAll(async () => {
    const on = await sharedAttention('default device');
    on.device.addEventListener('uncapturederror', listener);
    context = await makeContext(await makeSurroundings(on));
  });
  afterAll(async () => {
    console.log(
      `hostile arguments: ${Object.entries(counts)
        .map(([name, count]) => `${count} ${name}`)
        .join(', ')}`,
    );
    const { on, other, layer, model, plan } = context;
    on.device.removeEventListener('uncapturederror', listener);
    for (const each of [other, layer, model, plan]) each.destroy();
  });

  test('right arguments have the right answer', async () => {
    for (const name of Object.keys(OPERATIONS)) {
      if (name !== 'createAttention') expect(await runCase(context, { name, edits: [] }), name).not.toBe('rejected'); // its tuning is of no adapter
    }
  });

  const chunks = PATH ? [0] : Array.from({ length: Math.ceil(CASES / EACH) }, (_, i) => i);
  test.each(chunks)(`cases from ${EACH} · %d on`, async (chunk) => {
    const property = fc.asyncProperty(hostileCase, async (drawn) => {
      counts[await runCase(context, drawn)]++;
      counts.tried++;
      await context.on.device.queue.onSubmittedWorkDone();
      expect(uncaptured.splice(0)).toEqual([]);
    });
    await fc.assert(property, {
      ...{ numRuns: Math.min(EACH, CASES - EACH * chunk), seed: SEED + chunk, ...(PATH && { path: PATH, endOnFailure: true }) },
      reporter: (run) => {
        if (!run.failed) return;
        const told = (error: unknown): string =>
          error instanceof Error ? `${error.message}\n${error.cause ? told(error.cause) : error.stack}` : String(error);
        const again = `npm run test:hostile -- --seed ${run.seed} --path ${run.counterexamplePath}`;
        throw new Error(`${told(run.errorInstance)}\ncase: ${JSON.stringify(run.counterexample)}\nrepeat: ${again}`);
      },
    });
  });
});
