/** The gradients of the reference's word model against central differences of its loss. */
import { expect, test } from 'vitest';
import { WordModelReference } from '../../src/reference/index.ts';
import { random } from '../rig/random.ts';

const OPTIONS = { vocabulary: 11, length: 7, width: 8, seed: 3 };
const BATCH = 4;

const next = random(7);
const below = (limit: number) => Math.floor(next() * limit);
const tokens = Array.from({ length: BATCH * OPTIONS.length }, () => below(OPTIONS.vocabulary));
/** Each sentence has one target, at a random position. */
const targets = tokens.map(() => -1);
for (let b = 0; b < BATCH; b++) targets[b * OPTIONS.length + below(OPTIONS.length)] = below(OPTIONS.vocabulary);

const twin = new WordModelReference(OPTIONS);
const start = twin.parameters();
twin.train(tokens, targets);

function loss(parameters: typeof start): number {
  const model = new WordModelReference(OPTIONS);
  model.load(parameters);
  const { data } = model.forward(tokens, targets).losses;
  return Array.from(data).reduce((sum, value) => sum + value, 0) / BATCH;
}

test.each(Object.entries(twin.gradients()))('the largest gradient of %s', (name, gradient) => {
  const sizes = Array.from(gradient.data, Math.abs);
  const at = sizes.indexOf(Math.max(...sizes));
  const moved = (by: number) => {
    const { data, shape } = start[name as keyof typeof start];
    return loss({ ...start, [name]: { data: Float64Array.from(data, (value, i) => (i === at ? value + by : value)), shape } });
  };
  expect((moved(1e-4) - moved(-1e-4)) / 2e-4 / gradient.data[at]!).toBeCloseTo(1, 5);
});
