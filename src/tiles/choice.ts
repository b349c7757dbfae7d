/** Choices of tiles: their type, values that a caller forces, and the check that tiles fit a workgroup. */
import { AttentionError, quote } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import type { FloatType, TunableKernel, Variant } from '../gpu/kernel.ts';
import type { Variants } from '../kernels/variants.ts';
import type { BasicFacts } from './facts.ts';

export interface Choice<Own extends Variant = Variant> {
  readonly variant: Own;
  readonly reason: string;
}

/** Choices by the kernel's name. */
export type Tiles<Name extends keyof Variants> = { readonly [Kernel in Name]: Choice<Variants[Kernel]> };

/** The types of q and k, which the contract has found to be floats. */
export const storageOf = ({ q, k }: Problem) => ({ Q: q.dtype, K: k.dtype }) as Readonly<Record<'Q' | 'K', FloatType>>;

/** Flags that change the answer, not only the speed. Where the problem needs one, a caller cannot force it off. */
const ANSWER = ['DROPOUT', 'SKIP_ZEROS'];

/**
 * Checks the kernels that the caller forces.
 * @param known those that can be forced here; @param taken those of them that run
 */
export function checkKernels(known: readonly string[], taken: readonly string[], { variant }: Pick<Problem, 'variant'>): void {
  for (const name of Object.keys(variant)) {
    if (!known.includes(name))
      throw new AttentionError('option', `variant: unknown kernel ${quote(name)}: known here are ${known.join(', ')}`);
    if (!taken.includes(name))
      throw new AttentionError('option', `variant: ${name} is forced beside ${taken.join(', ')}: need one kernel for each result`);
  }
}

/** A kernel's choice with what the caller forces of it. @throws AttentionError 'option' */
export function force<Own extends Variant>(kernel: TunableKernel, choice: Choice<Own>, { variant, forcedBy }: Problem): Choice<Own> {
  const { name, constants } = kernel;
  if (!Object.hasOwn(variant, name)) return choice;
  const forced = variant[name];
  const known = Object.values(constants).flat();
  if (forced === null || typeof forced !== 'object' || Array.isArray(forced))
    throw new AttentionError('option', `variant: ${name} is ${quote(forced)}: need an object of its constants, ${known.join(', ')}`);
  for (const [constant, value] of Object.entries(forced)) {
    if (!known.includes(constant))
      throw new AttentionError('option', `variant: ${name} has no constant ${quote(constant)}: known are ${known.join(', ')}`);
    checkValue(kernel, constant, value, choice.variant[constant]);
  }
  return {
    variant: { ...choice.variant, ...forced },
    reason: forcedBy === 'tuning' ? 'the fastest that tune measured' : 'forced by variant',
  };
}

/** @param byDefault the value that the library chooses, which always fits */
function checkValue({ name, constants }: TunableKernel, constant: string, value: unknown, byDefault: unknown): void {
  const what = `variant: ${name}.${constant} is ${quote(value)}`;
  const least = constant === 'MASK' ? 0 : 1; // 0 is the kind of no mask
  const [isRight, need] = constants.alias.includes(constant)
    ? [value === byDefault, `${quote(byDefault)}, the tensors' type`]
    : constants.bool.includes(constant)
      ? [typeof value === 'boolean', 'true or false']
      : [value === byDefault || (Number.isSafeInteger(value) && (value as number) >= least), `an integer ≥ ${least}`];
  if (!isRight) throw new AttentionError('option', `${what}: need ${need}`);
  if (value === false && byDefault === true && ANSWER.includes(constant))
    throw new AttentionError('option', `${what}: need true, the answer would be wrong`);
}

/** The numbers that the caller forces for a kernel. `force` has not checked them yet. Other constants follow from them. */
export const forcedOf = (kernel: keyof Variants, { variant }: Pick<Problem, 'variant'>): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(variant[kernel] ?? {}).filter(([, value]) => typeof value === 'number'));

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
