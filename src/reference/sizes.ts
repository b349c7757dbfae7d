/** What the reference can compute in memory and in time. */
import { checkCount } from '../contract/sizes.ts';

const MOST_COMPUTED = 2 ** 28; // elements of a tensor: 2 GB in f64

/** @throws AttentionError 'limit' for the shape of a tensor that is too large to be made here */
export const checkComputed = (what: string, ...shape: number[]): void => checkCount(what, shape, MOST_COMPUTED);
