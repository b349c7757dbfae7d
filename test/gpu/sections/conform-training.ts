/** Training beside its twin in f64. */
import { type Attention, createTrainableSelfAttention, createWordModel } from '../../../src/index.ts';
import { TrainableReference, WordModelReference } from '../../../src/reference/index.ts';
import { BATCH, sentences, WORDS } from '../../rig/sentences.ts';
import { relativeError } from './answers.ts';
import { noise } from './conform-cases.ts';

const LAYER = { width: 32, heads: 4, isCausal: true, seed: 3 };
const INPUTS = { batch: 4, length: 24 };
const RATES = { learningRate: 2e-3, positionRate: 0.3 };

/** The greatest error of a layer's outputs and of all its gradients. */
export async function checkLayer(attention: Attention): Promise<number> {
  const { batch, length } = INPUTS;
  const shape = [batch, length, LAYER.width];
  const [x, dY] = [1, 2].map((seed) => ({ data: noise(seed, batch * length * LAYER.width), shape }));
  const layer = await createTrainableSelfAttention(attention, LAYER);
  const plan = await layer.plan({ ...INPUTS, backward: true });
  const twin = new TrainableReference(LAYER);
  const errors = [
    relativeError((await plan.forward(x!)).data, twin.forward(x!).y.data),
    relativeError((await plan.backward(dY!)).data, twin.backward(dY!).data),
  ];
  const [made, expected] = [await layer.gradients(), twin.gradients()];
  for (const name of Object.keys(expected) as (keyof typeof expected)[]) errors.push(relativeError(made[name].data, expected[name].data));
  layer.destroy();
  return Math.max(...errors);
}

/** The greatest error of the loss, relative, while a word model learns. */
export async function checkWordModel(attention: Attention, steps: number): Promise<number> {
  const model = await createWordModel(attention, WORDS);
  const plan = await model.plan({ batch: BATCH, backward: true });
  const twin = new WordModelReference(WORDS);
  let error = 0;
  for (let step = 0; step < steps; step++) {
    const { tokens, targets } = sentences(step);
    const loss = await plan.train(tokens, targets, RATES);
    const expected = twin.train(tokens, targets, RATES);
    error = Math.max(error, Math.abs(loss - expected) / expected);
  }
  model.destroy();
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}
