import { softmax } from './softmax.ts';

/**
 * The cross-entropy loss of rows of logits, and its gradient, in f64: the twin of `shaders/cross_entropy.wgsl`.
 * @param logits  rows of `classes`
 * @param targets the correct class of each row; a row whose target is `classes` or more has loss and gradient 0
 * @param divisor the gradient is that of the losses' sum divided by this number; for a mean, the number of rows that have a target
 * @returns losses, −ln softmax(logits)[target]; gradient, (softmax(logits) − one-hot(target)) / divisor
 */
export function crossEntropy(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  classes: number,
  divisor: number,
): { readonly losses: Float64Array; readonly gradient: Float64Array } {
  const { weights, lse } = softmax(logits, classes);
  const losses = Float64Array.from(lse, (sum, row) => (targets[row]! < classes ? sum - logits[row * classes + targets[row]!]! : 0));
  const gradient = weights.map((weight, i) => {
    const right = targets[Math.floor(i / classes)]!;
    return right < classes ? (weight - Number(i % classes === right)) / divisor : 0;
  });
  return { losses, gradient };
}
