import { random } from '../../src/contract/random.ts';

export { random };

/** Numbers in [−scale, scale). */
export function randomArray(seed: number, length: number, scale = 1): Float32Array<ArrayBuffer> {
  const next = random(seed);
  return Float32Array.from({ length }, () => scale * (2 * next() - 1));
}
