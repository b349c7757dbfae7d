/** What tile sizes must keep to, what fits into workgroup memory, and how a caller forces them. */
import { AttentionError, quote } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { describeVariant, numbers, type Variant } from '../gpu/kernel.ts';
import { contextBytes } from '../kernels/context.ts';
import { scoresBytes } from '../kernels/scores.ts';
import { softmaxBytes } from '../kernels/softmax.ts';
import type { Choice, DeviceFacts, ExplicitKernel, Tiles } from './facts.ts';

/** Flags that are true where the problem needs what they do, not where they are faster. */
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

export function checkExplicitTiles(tiles: Tiles<ExplicitKernel>, facts: DeviceFacts): Tiles<ExplicitKernel> {
  for (const [name, cols, bytes] of [
    ['scores', 'TILE_M', scoresBytes],
    ['context', 'TILE_DV', contextBytes],
  ] as const) {
    const { variant } = tiles[name];
    const v = numbers<string>(variant);
    const sizeX = v[cols]! / (4 * v.COLS!);
    const sizeY = v.TILE_N! / (4 * v.ROWS!);
    const got = `variant: ${name} has ${describeVariant(variant)}`;
    if (![1, 2, 4].includes(v.ROWS!) || ![1, 2, 4].includes(v.COLS!))
      throw new AttentionError('option', `${got}: ROWS and COLS are 1, 2 or 4`);
    if (!Number.isInteger(sizeX) || !Number.isInteger(sizeY))
      throw new AttentionError('option', `${got}: need TILE_N a multiple of 4·ROWS and ${cols} of 4·COLS`);
    const slots = v.SLOTS ?? 1;
    if (slots > 64 || (slots > 1 && !variant.DIRECT)) throw new AttentionError('option', `${got}: need SLOTS 1, or with DIRECT at most 64`);
    checkFits(name, sizeX * sizeY * slots, bytes(variant), facts);
  }
  const { LANES, ROWS } = numbers<'LANES' | 'ROWS'>(tiles.softmax.variant);
  if (!Number.isInteger(Math.log2(LANES))) throw new AttentionError('option', `variant: softmax.LANES is ${LANES}: need a power of 2`);
  checkFits('softmax', LANES * ROWS, softmaxBytes(tiles.softmax.variant), facts);
  return tiles;
}

export function checkFits(name: string, invocations: number, bytes: number, facts: DeviceFacts): void {
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
