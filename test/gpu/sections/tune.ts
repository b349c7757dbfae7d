/** What the library chose beside every variant that fits: those that tune() tries, and more. Each is checked as well. */
import { normalize } from '../../../src/contract/problem.ts';
import { type AttentionOptions, type AttentionProblem, createAttention } from '../../../src/index.ts';
import { candidates } from '../../../src/tiles/candidates.ts';
import { deviceFacts } from '../../../src/tiles/facts.ts';
import type { Fields, Shape } from '../records.ts';
import { EXACT_STAMPS, openGpu } from './dawn.ts';
import { Bench, forward, gradients } from './measure.ts';
import { isTiny, row, section } from './say.ts';
import { decode, setsOf, shapeOf, square } from './shapes.ts';
import { backwardVariants, forwardVariants, nameVariant } from './variants.ts';

const BUDGET_MS = isTiny ? 50 : 150;
const [N, M] = isTiny ? [64, 512] : [4096, 32768];

interface Choice {
  readonly origin: 'tune' | 'more';
  readonly options: AttentionOptions;
}

const label = ({ algorithm, variant = {} }: AttentionOptions): string => nameVariant(variant) || (algorithm ?? '');

function problemOf(shape: Shape): AttentionProblem {
  const layout = (name: 'q' | 'k' | 'v') => ({ shape: shapeOf(name, shape), dtype: shape.dtype });
  return { q: layout('q'), k: layout('k'), v: layout('v') };
}

/** Compiles many at once, on several cores, so that measuring one by one has nothing to wait for. */
async function warm({ attention }: Bench, problem: AttentionProblem, choices: readonly Choice[]): Promise<void> {
  await Promise.allSettled(choices.map(async ({ options }) => (await attention.plan({ ...problem, ...options })).destroy()));
}

/** tune() itself, on an Attention of its own: its verdict changes nothing here. */
async function verdictOf({ device }: Bench, problem: AttentionProblem): Promise<Fields> {
  const attention = await createAttention({ device });
  try {
    const begin = performance.now();
    const [verdict] = Object.values((await attention.tune(problem)).fastest);
    const { algorithm, variant, milliseconds } = verdict!;
    const winner = nameVariant(variant) || (algorithm === 'fused' ? 'what was chosen' : algorithm);
    return { seconds: (performance.now() - begin) / 1000, winner, winnerMs: milliseconds };
  } finally {
    attention.destroy();
  }
}

/** Those that tune() knows, without the library's own choice, and then others. */
async function choicesFor({ device }: Bench, shape: Shape, problem: AttentionProblem): Promise<Choice[]> {
  const known = candidates(normalize('tune', problem), await deviceFacts(device)).flat();
  const tuned = known.map(({ algorithm, variant }): Choice => ({ origin: 'tune', options: { algorithm, variant } })).slice(1);
  const names = new Set(tuned.map(({ options }) => label(options)));
  const more = forwardVariants(shape).map((variant): Choice => ({ origin: 'more', options: { algorithm: 'fused', variant } }));
  const all = [...tuned, ...more.filter(({ options }) => !names.has(label(options)))];
  return isTiny ? [...all.slice(0, 3), ...all.slice(-3)] : all;
}

async function forwards(bench: Bench, shape: Shape): Promise<void> {
  const { device } = bench;
  const problem = problemOf(shape);
  const sets = shape.N === 1 ? setsOf(shape) : 1;
  const attend = (origin: string, options: AttentionOptions) =>
    row(device, 'variant', { origin, variant: label(options), ...shape }, () =>
      forward(bench, shape, { options, sets, budget: BUDGET_MS }),
    );
  await attend('chosen', {});
  await row(device, 'tuned', shape, () => verdictOf(bench, problem));
  const choices = await choicesFor(bench, shape, problem);
  await warm(bench, problem, choices);
  for (const { origin, options } of choices) await attend(origin, options);
}

async function backwards(bench: Bench, shape: Shape): Promise<void> {
  const attend = (origin: string, options: AttentionOptions) =>
    row(bench.device, 'backwardVariant', { origin, variant: label(options), ...shape }, () =>
      gradients(bench, shape, { options, budget: BUDGET_MS }),
    );
  await attend('chosen', {});
  const choices = backwardVariants(shape)
    .slice(0, isTiny ? 2 : undefined)
    .map((variant): Choice => ({ origin: 'more', options: { variant } }));
  await warm(bench, { ...problemOf(shape), backward: true }, choices);
  for (const { origin, options } of choices) await attend(origin, options);
}

await section(async () => {
  await openGpu([EXACT_STAMPS]);
  const bench = await Bench.open();
  const half = bench.dtypes.at(-1)!;
  const jobs: readonly (readonly [typeof forwards, Shape])[] = [
    [forwards, square('f32', 64, N)],
    [forwards, decode('f32', 128, M)],
    [backwards, square('f32', 64, N / 2)],
    [forwards, square(half, 128, N)],
    [forwards, square('f32', 128, N)],
    [backwards, square('f32', 128, N / 2)],
    [forwards, decode(half, 128, M)],
    [forwards, square(half, 64, N)],
    [forwards, square('f32', 64, N / 4)],
  ];
  for (const [job, shape] of isTiny ? jobs.slice(0, 3) : jobs) await job(bench, shape);
});
