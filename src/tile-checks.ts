/** What tile sizes must keep to, and how a caller forces them. */
import { AttentionError, quote } from './errors.ts';
import { contextBytes } from './kernels/context.ts';
import { flashForwardBytes } from './kernels/flash_forward.ts';
import { describeVariant, numbers, type Variant } from './kernels/kernel.ts';
import { scoresBytes } from './kernels/scores.ts';
import { softmaxBytes } from './kernels/softmax.ts';
import { isVec4, type Problem } from './problem.ts';
import type { Choice, DeviceFacts, ExplicitKernel, Tiles } from './tiles.ts';

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
    const isRight =
      typeof value === 'number'
        ? typeof own === 'number' && Number.isSafeInteger(value) && value > 0
        : typeof value === 'boolean' && typeof own === 'boolean';
    if (!isRight) {
      const need =
        typeof own === 'number' ? 'an integer ≥ 1' : typeof own === 'boolean' ? 'true or false' : `${quote(own)}, the tensors' type`;
      throw new AttentionError('option', `variant: ${key} is ${quote(value)}: need ${need}`);
    }
    result[kernel!] = {
      variant: { ...choice.variant, [name!]: value },
      reason: forcedBy === 'tuning' ? 'the fastest that tune measured' : 'forced by variant',
    };
  }
  return result as Tiles<Name>;
}

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
    if (v.ROWS! > 2 || v.COLS! > 2) throw new AttentionError('option', `${got}: ROWS and COLS are 1 or 2`);
    if (!Number.isInteger(sizeX) || !Number.isInteger(sizeY))
      throw new AttentionError('option', `${got}: need TILE_N a multiple of 4·ROWS and ${cols} of 4·COLS`);
    checkFits(name, sizeX * sizeY, bytes(variant), facts);
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

export function checkBaselineTiles(variant: Variant, { Dv }: Problem, facts: DeviceFacts): void {
  const { TILE_N, TILE_M, STEP, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'STEP' | 'BLOCKS'>(variant);
  if (TILE_N % 4 !== 0 || TILE_M % STEP !== 0 || STEP % 4 !== 0 || TILE_M * BLOCKS < Dv) {
    const need = `TILE_N and STEP multiples of 4, TILE_M of STEP, TILE_M·BLOCKS ≥ Dv = ${Dv}`;
    throw new AttentionError('option', `variant: flash_forward has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_forward', (TILE_N * TILE_M) / 16, flashForwardBytes(variant), facts);
}

export function checkRowTiles(variant: Variant, problem: Problem, facts: DeviceFacts): void {
  checkQuads('flash_forward_row', facts);
  const { D, Dv } = problem;
  const { SIZE, ROWS, D_BLOCKS, DV_BLOCKS } = numbers<'SIZE' | 'ROWS' | 'D_BLOCKS' | 'DV_BLOCKS'>(variant);
  const isPower = (value: number, most: number) => Number.isInteger(Math.log2(value)) && value <= most;
  if (
    SIZE % 4 !== 0 ||
    !isPower(ROWS, 8) ||
    !isPower(D_BLOCKS, 16) ||
    !isPower(DV_BLOCKS, 16) ||
    16 * D_BLOCKS < D ||
    16 * DV_BLOCKS < Dv
  ) {
    const need = `SIZE a multiple of 4, ROWS 1, 2, 4 or 8, D_BLOCKS and DV_BLOCKS 1, 2, 4, 8 or 16, 16·D_BLOCKS ≥ D = ${D}, 16·DV_BLOCKS ≥ Dv = ${Dv}`;
    throw new AttentionError('option', `variant: flash_forward_row has ${describeVariant(variant)}: need ${need}`);
  }
  checkVec4('flash_forward_row', variant, problem);
  checkFits('flash_forward_row', SIZE, 0, facts);
}

function checkQuads(kernel: string, facts: DeviceFacts): void {
  if (facts.hasQuads) return;
  throw new AttentionError('unsupported', `variant: ${kernel} needs the feature subgroups with ordered quads, which this device lacks`);
}

function checkVec4(kernel: string, variant: Variant, problem: Problem): void {
  if (!variant.VEC4 || isVec4(problem)) return;
  throw new AttentionError('option', `variant: ${kernel}.VEC4 is true: need D, Dv, offsets and strides that are multiples of 4`);
}

export function checkQuadTiles(variant: Variant, { D, Dv }: Problem, facts: DeviceFacts): void {
  checkQuads('flash_forward_quad', facts);
  const { SIZE, KEYS, D_VECS, DV_VECS } = numbers<'SIZE' | 'KEYS' | 'D_VECS' | 'DV_VECS'>(variant);
  if (SIZE % 4 !== 0 || ![1, 2, 4].includes(KEYS) || 16 * D_VECS < D || 16 * DV_VECS < Dv) {
    const need = `SIZE a multiple of 4, KEYS 1, 2 or 4, 16·D_VECS ≥ D = ${D}, 16·DV_VECS ≥ Dv = ${Dv}`;
    throw new AttentionError('option', `variant: flash_forward_quad has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_forward_quad', SIZE, 0, facts);
}
