/** The experiment for `npm run train`: without a page, its progress told to the command line. */
import { createAttention } from '../../src/index.ts';
import { WordModelReference } from '../../src/reference/index.ts';
import { describeAdapter } from '../engine.ts';
import { PAGE_SENTENCE } from './data.ts';
import { type Evaluation, Experiment, type Look } from './experiment.ts';
import { adamOptions, batches, LEARNING_RATE, modelOptions, WIDTH } from './model.ts';

export interface SeedReport {
  readonly seed: number;
  readonly curve: readonly ({ readonly step: number; readonly trainingLoss: number } & Evaluation)[]; // the first before training
  readonly permuted: Evaluation;
  readonly page: Look;
  readonly pageBefore: Look;
  /** Plain dot products, the highest of: vectors before and after training, each unscaled and scaled. */
  readonly withoutWeights: number;
  readonly stepMs: number;
}

export interface TrainReport {
  readonly adapter: string;
  readonly dispatches: number;
  readonly seeds: readonly SeedReport[];
  readonly cpuStepMs: number;
}

const CPU_STEPS = 10;

export async function runTraining({
  seeds,
  steps,
  every,
}: {
  seeds: readonly number[];
  steps: number;
  every: number;
}): Promise<TrainReport> {
  const attention = await createAttention();
  try {
    const reports: SeedReport[] = [];
    let dispatches = 0;
    for (const [i, seed] of seeds.entries()) {
      const experiment = await Experiment.create(attention, seed);
      dispatches = experiment.dispatches;
      const progress = (step: number) =>
        (globalThis as { report?: (progress: object) => void }).report?.({
          share: (i + step / steps) / seeds.length,
          text: `seed ${seed}, step ${step}`,
        });
      reports.push(await trainSeed(experiment, steps, every, progress));
      experiment.destroy();
    }
    return { adapter: describeAdapter(attention.device), dispatches, seeds: reports, cpuStepMs: timeReference(seeds[0]!) };
  } finally {
    attention.destroy();
  }
}

async function trainSeed(experiment: Experiment, steps: number, every: number, progress: (step: number) => void): Promise<SeedReport> {
  const controls = async () => Math.max(await experiment.withoutWeights(1), await experiment.withoutWeights(1 / Math.sqrt(WIDTH)));
  const before = await controls();
  const pageBefore = await experiment.look(PAGE_SENTENCE);
  const first = await experiment.evaluate();
  const curve: SeedReport['curve'][number][] = [{ step: 0, trainingLoss: first.loss, ...first }];
  let stepMs = 0;
  let losses: number[] = [];
  for (let step = 1; step <= steps; step++) {
    const start = performance.now();
    losses.push(await experiment.train(LEARNING_RATE));
    stepMs += (performance.now() - start) / steps;
    if (step % every !== 0 && step !== steps) continue;
    curve.push({ step, trainingLoss: losses.reduce((sum, loss) => sum + loss, 0) / losses.length, ...(await experiment.evaluate()) });
    losses = [];
    progress(step);
  }
  return {
    ...{ seed: experiment.seed, curve, stepMs, pageBefore },
    permuted: await experiment.evaluatePermuted(),
    page: await experiment.look(PAGE_SENTENCE),
    withoutWeights: Math.max(before, await controls()),
  };
}

/** Milliseconds a step of the CPU reference. */
function timeReference(seed: number): number {
  const model = new WordModelReference(modelOptions(seed));
  const next = batches(seed);
  const step = () => {
    const { tokens, targets } = next();
    model.train(tokens, targets, adamOptions(LEARNING_RATE));
  };
  step(); // the code is compiled while it runs
  const start = performance.now();
  for (let i = 0; i < CPU_STEPS; i++) step();
  return (performance.now() - start) / CPU_STEPS;
}
