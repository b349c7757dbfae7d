/** Choices of tiles: their type, values that a caller forces, and the check that tiles fit a workgroup. */
import { AttentionError, quote } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import type { Variant } from '../gpu/kernel.ts';
import type { BasicFacts } from './facts.ts';

export interface Choice {
  readonly variant: Variant;
  readonly reason: string;
}

/** Choices by the kernel's name. */
export type Tiles<Name extends string> = Readonly<Record<Name, Choice>>;

/** Flags that change the answer, not only the speed. Where the problem needs one, a caller cannot force it off. */
const ANSWER = ['DROPOUT', 'SKIP_ZEROS'];

/** Replaces values by those that the caller forces. The name of a kernel that is not among the tiles is an error, as is an unknown name. */
export function force<Name extends string>(tiles: Tiles<Name>, { variant: forced, forcedBy }: Problem): Tiles<Name> {
  const result: Record<string, Choice> = { ...tiles };
  for (const [key, value] of Object.entries(forced)) {
    const [kernel, name, rest] = key.split('.');
    const choice = Object.hasOwn(result, kernel!) ? result[kernel!] : undefined;
    if (!choice || rest !== undefined || !Object.hasOwn(choice.variant, name!)) {
      const known = Object.entries<Choice>(tiles).flatMap(([stem, { variant }]) =>
        Object.keys(variant).map((constant) => `${stem}.${constant}`),
      );
      throw new AttentionError('option', `variant: unknown ${quote(key)}: known here are ${known.join(', ')}`);
    }
    const chosen = choice.variant[name!];
    const least = name === 'MASK' ? 0 : 1; // MASK is 0 where there is no mask
    const isRight =
      value === chosen ||
      (typeof value === 'number'
        ? typeof chosen === 'number' && Number.isSafeInteger(value) && value >= least
        : typeof value === 'boolean' && typeof chosen === 'boolean');
    if (!isRight) {
      const type = typeof chosen;
      const need =
        type === 'number' ? `an integer ≥ ${least}` : type === 'boolean' ? 'true or false' : `${quote(chosen)}, the tensors' type`;
      throw new AttentionError('option', `variant: ${key} is ${quote(value)}: need ${need}`);
    }
    if (value === false && chosen === true && ANSWER.includes(name!))
      throw new AttentionError('option', `variant: ${key} is false: need true, the answer would be wrong`);
    result[kernel!] = {
      variant: { ...choice.variant, [name!]: value },
      reason: forcedBy === 'tuning' ? 'the fastest that tune measured' : 'forced by variant',
    };
  }
  return result as Tiles<Name>;
}

/** The values that the caller forces for a kernel, by the names of the kernel's constants. */
export const forcedOf = (kernel: string, { variant }: Pick<Problem, 'variant'>): Variant =>
  Object.fromEntries(
    Object.entries(variant).flatMap(([key, value]) => (key.startsWith(`${kernel}.`) ? [[key.slice(kernel.length + 1), value]] : [])),
  );

export function checkFits(name: string, invocations: number, bytes: number, facts: BasicFacts): void {
  if (invocations > facts.maxComputeInvocationsPerWorkgroup) {
    throw new AttentionError(
      'limit',
      `${name}: tiles need ${invocations} invocations a workgroup, the device has ${facts.maxComputeInvocationsPerWorkgroup}`,
    );
  }
  if (bytes > facts.maxComputeWorkgroupStorageSize) {
    throw new AttentionError(
      'limit',
      `${name}: tiles need ${bytes} bytes of workgroup memory, the device has ${facts.maxComputeWorkgroupStorageSize}`,
    );
  }
}

/**
 * How many rows of `width` elements fit into the workgroup memory that held `step` elements of each row of two tiles, of `tileN` and `tileM` rows, before.
 * A power of 2, at most 32.
 */
export function rowsAtATime(step: number, tileN: number, tileM: number, width: number): number {
  return 2 ** Math.floor(Math.log2(Math.min(32, (step * (tileN + tileM)) / width)));
}
