import type { AdamOptions } from '../contract/adam-options.ts';

/** Mean and uncentred variance of the gradients, both 0 before the first step. */
export interface Moments {
  readonly mean: Float64Array;
  readonly square: Float64Array;
}

/**
 * One step of the optimizer Adam in f64, in place: the twin of `shaders/adam.wgsl`.
 * @param step 1 for the first
 */
export function adam(
  parameters: Float64Array,
  gradients: ArrayLike<number>,
  { mean, square }: Moments,
  step: number,
  { learningRate, beta1, beta2, epsilon }: Required<AdamOptions>,
): void {
  for (let i = 0; i < parameters.length; i++) {
    const g = gradients[i]!;
    mean[i] = beta1 * mean[i]! + (1 - beta1) * g;
    square[i] = beta2 * square[i]! + (1 - beta2) * g * g;
    parameters[i]! -= (learningRate * (mean[i]! / (1 - beta1 ** step))) / (Math.sqrt(square[i]! / (1 - beta2 ** step)) + epsilon);
  }
}
