/** A choice of tiles, how a caller forces it, and whether it fits into a workgroup. */
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

/** Flags that change the answer, and not only the speed. Where the problem needs one, a caller cannot force it off. */
const ANSWER = ['DROPOUT', 'SKIP_ZEROS'];

/** Applies what the caller forces. A value of another algorithm's kernel is an error, like one that nobody knows. */
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
    const own = choice.variant[name!];
    const least = name === 'MASK' ? 0 : 1; // 0 is the kind of no mask
    const isRight =
      value === own ||
      (typeof value === 'number'
        ? typeof own === 'number' && Number.isSafeInteger(value) && value >= least
        : typeof value === 'boolean' && typeof own === 'boolean');
    if (!isRight) {
      const need =
        typeof own === 'number' ? `an integer ≥ ${least}` : typeof own === 'boolean' ? 'true or false' : `${quote(own)}, the tensors' type`;
      throw new AttentionError('option', `variant: ${key} is ${quote(value)}: need ${need}`);
    }
    if (value === false && own === true && ANSWER.includes(name!))
      throw new AttentionError('option', `variant: ${key} is false: need true, the answer would be wrong`);
    result[kernel!] = {
      variant: { ...choice.variant, [name!]: value },
      reason: forcedBy === 'tuning' ? 'the fastest that tune measured' : 'forced by variant',
    };
  }
  return result as Tiles<Name>;
}

/** What the caller forces of a kernel, by the names of its constants. */
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

/** Rows of `width` elements, at most 32, a power of 2, that fit into workgroup memory where `step` elements of the rows of both tiles lay before. */
export function rowsAtATime(step: number, tileN: number, tileM: number, width: number): number {
  return 2 ** Math.floor(Math.log2(Math.min(32, (step * (tileN + tileM)) / width)));
}
