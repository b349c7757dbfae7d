/** WebGPU forbids one buffer as input and output of the same dispatch, even in disjoint ranges. */
import { AttentionError } from '../contract/errors.ts';
import type { Bound } from './bind.ts';

/**
 * @param areApart whether two outputs may share a buffer when their ranges do not overlap: true where no kernel reads one and writes the other
 * @throws AttentionError 'option' when an output shares its buffer with an input, or with an output where `areApart` is false or the ranges overlap
 */
export function checkAliasing(
  caller: string,
  bound: Readonly<Bound>,
  outputs: readonly string[],
  areApart: (output: string, other: string) => boolean,
): void {
  for (const [output, a] of Object.entries(bound).filter(([name]) => outputs.includes(name))) {
    for (const [other, b] of Object.entries(bound)) {
      if (other === output || a.buffer !== b.buffer || a.size === 0 || b.size === 0) continue;
      const isOverlap = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
      if (outputs.includes(other) && areApart(output, other) && !isOverlap) continue;
      throw new AttentionError(
        'option',
        `${caller}: ${output} shares its GPUBuffer with ${other}: WebGPU needs another buffer for an output`,
      );
    }
  }
}
