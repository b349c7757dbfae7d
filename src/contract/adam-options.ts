/** The options of the optimizer Adam, for the GPU and the reference alike. */
import { AttentionError, quote } from './errors.ts';
import { readOptions } from './record.ts';

export interface AdamOptions {
  /** How far a step goes at most, roughly. Default 0.001. */
  learningRate?: number;
  /** How slowly the mean of the gradients changes, from 0 to below 1. Default 0.9. */
  beta1?: number;
  /** How slowly the mean of their squares changes, from 0 to below 1. Default 0.999. */
  beta2?: number;
  /** Added to the root of that mean. Default 1e-8. */
  epsilon?: number;
}

export const ADAM_KEYS = ['learningRate', 'beta1', 'beta2', 'epsilon'] as const;

/** @throws AttentionError 'option', which names `caller` */
export function normalizeAdam(caller: string, options: AdamOptions = {}): Required<AdamOptions> {
  const { learningRate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = readOptions(caller, options, ADAM_KEYS);
  const need = (name: string, value: unknown, isRight: boolean, what: string) => {
    if (!isRight) throw new AttentionError('option', `${caller}: ${name} is ${quote(value)}: need ${what}`);
  };
  const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(Math.fround(value));
  need('learningRate', learningRate, isNumber(learningRate) && learningRate >= 0, 'a finite number ≥ 0');
  for (const [name, beta] of Object.entries({ beta1, beta2 }))
    need(name, beta, isNumber(beta) && beta >= 0 && Math.fround(beta) < 1, 'a number from 0 to below 1');
  need('epsilon', epsilon, isNumber(epsilon) && Math.fround(epsilon) >= 2 ** -126, 'a number > 0 that f32 can hold');
  return { learningRate, beta1, beta2, epsilon };
}
