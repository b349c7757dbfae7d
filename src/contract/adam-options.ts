/** The options of the optimizer Adam, for the GPU and the reference. */
import { AttentionError, quote } from './errors.ts';
import { readOptions } from './record.ts';

export interface AdamOptions {
  /** Step size: roughly the most that one step changes a parameter. At least 0. Default 0.001. */
  learningRate?: number;
  /** Decay of the running mean of the gradients, from 0 to below 1. Default 0.9. */
  beta1?: number;
  /** Decay of the running mean of the squared gradients, from 0 to below 1. Default 0.999. */
  beta2?: number;
  /** Added to the square root of the mean of squares, the denominator of a step. Above 0. Default 1e-8. */
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
