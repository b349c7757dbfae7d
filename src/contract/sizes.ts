/** How much a call makes on the computer itself, beside what it was given. */
import { AttentionError, quote } from './errors.ts';
import { elementCount } from './tensor.ts';

/** Numbers of one matrix or table that a seed begins with, or of an identity. */
export const MOST_MADE = 2 ** 26;

/** @throws AttentionError 'limit' when a shape has more elements than can be made in some seconds */
export function checkCount(what: string, shape: readonly number[], most = MOST_MADE): void {
  const count = elementCount(shape);
  if (count > most) throw new AttentionError('limit', `${what} is ${quote(shape)}: ${count} elements, at most ${most} are made on the CPU`);
}
