/** Chooses tile sizes: a pure function of the problem, the device's facts and what the caller forces. Nowhere else. */
import { AttentionError, quote } from './errors.ts';
import { contextBytes, skipsZeros } from './kernels/context.ts';
import { numbers, type Variant } from './kernels/kernel.ts';
import { type Projection, projectBytes } from './kernels/project.ts';
import { scoresBytes } from './kernels/scores.ts';
import { softmaxBytes } from './kernels/softmax.ts';
import type { Problem } from './problem.ts';

/** What tile sizes depend on. */
export interface DeviceFacts {
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number; // bytes
  readonly isSoftware: boolean; // the device runs on the CPU
}

export function deviceFacts({ limits, adapterInfo }: GPUDevice): DeviceFacts {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = limits;
  return { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize, isSoftware: adapterInfo?.isFallbackAdapter ?? false };
}

export interface Choice {
  readonly variant: Variant;
  readonly reason: string;
}

export interface ExplicitTiles {
  readonly scores: Choice;
  readonly softmax: Choice;
  readonly context: Choice;
}

/** Tiles of the three kernels. `problem.variant` overrides single values, as `'scores.TILE_N': 16`. */
export function chooseTiles(problem: Problem, facts: DeviceFacts): ExplicitTiles {
  const { N, M, Dv } = problem;
  const scores = matmulTile(N, M);
  const context = matmulTile(N, Dv);
  const lanes = softmaxLanes(M, facts);
  const chosen = {
    scores: {
      variant: { TILE_N: scores.size, TILE_M: scores.size, TILE_D: 16, ROWS: scores.groups, COLS: scores.groups },
      reason: scores.reason,
    },
    softmax: {
      variant: { LANES: lanes, ROWS: Math.max(1, 64 / lanes) },
      reason: `${lanes} invocations a row of ${M}${facts.isSoftware ? ', for a software device' : ''}`,
    },
    context: {
      variant: {
        TILE_N: context.size,
        TILE_DV: context.size,
        TILE_M: 16,
        ROWS: context.groups,
        COLS: context.groups,
        SKIP_ZEROS: skipsZeros(problem),
      },
      reason: context.reason,
    },
  };
  return checkTiles(force(chosen, problem.variant), facts);
}

/** Tiles of a linear projection. */
export function chooseProjectTiles({ rows, outWidth }: Projection, facts: DeviceFacts): Choice {
  const tile = matmulTile(rows, outWidth);
  const variant = { TILE_N: tile.size, TILE_O: tile.size, TILE_I: 16, ROWS: tile.groups, COLS: tile.groups };
  const { SIZE_X, SIZE_Y } = { SIZE_X: tile.size / (4 * tile.groups), SIZE_Y: tile.size / (4 * tile.groups) };
  checkFits('project', SIZE_X * SIZE_Y, projectBytes(variant), facts);
  return { variant, reason: tile.reason };
}

/** Square tiles of a matrix product: large ones reuse each loaded value more, small ones waste less on small matrices. */
function matmulTile(rows: number, cols: number): { size: number; groups: number; reason: string } {
  if (Math.min(rows, cols) <= 32) return { size: 16, groups: 1, reason: `tiles of 16: ${rows}×${cols} is small` };
  return { size: 64, groups: 2, reason: `tiles of 64: ${rows}×${cols} fills them` };
}

/**
 * Invocations that share a row: about 8 elements each, 4 at least, a workgroup's default limit at most. A software device walks over
 * long rows faster than it meets at barriers: with N = M = 512 and H = 8, softmax in SwiftShader took 4 lanes 130 ms less than 64 lanes
 * (24 Nov 2026); 16 lanes keep the sum of a long row accurate.
 */
function softmaxLanes(length: number, { isSoftware }: DeviceFacts): number {
  if (isSoftware) return length <= 1024 ? 4 : 16;
  return Math.min(256, Math.max(4, 2 ** Math.ceil(Math.log2(length / 8))));
}

type Forced = Problem['variant'];

function force(tiles: ExplicitTiles, forced: Forced): ExplicitTiles {
  const result = { ...tiles };
  for (const [key, value] of Object.entries(forced)) {
    const [kernel, name, rest] = key.split('.');
    const choice = result[kernel as keyof ExplicitTiles];
    if (!choice || rest !== undefined || !Object.hasOwn(choice.variant, name!)) {
      const known = Object.entries(tiles).flatMap(([stem, { variant }]) => Object.keys(variant).map((constant) => `${stem}.${constant}`));
      throw new AttentionError('option', `variant: unknown ${quote(key)}: known are ${known.join(', ')}`);
    }
    const isRight =
      typeof value === typeof choice.variant[name!] && (typeof value !== 'number' || (Number.isSafeInteger(value) && value > 0));
    if (!isRight)
      throw new AttentionError(
        'option',
        `variant: ${key} is ${quote(value)}: need ${typeof value === 'number' ? 'an integer ≥ 1' : typeof choice.variant[name!]}`,
      );
    result[kernel as keyof ExplicitTiles] = { variant: { ...choice.variant, [name!]: value }, reason: 'forced by variant' };
  }
  return result;
}

function checkTiles(tiles: ExplicitTiles, facts: DeviceFacts): ExplicitTiles {
  for (const [name, cols, bytes] of [
    ['scores', 'TILE_M', scoresBytes],
    ['context', 'TILE_DV', contextBytes],
  ] as const) {
    const { variant } = tiles[name];
    const v = numbers<string>(variant);
    const sizeX = v[cols]! / (4 * v.COLS!);
    const sizeY = v.TILE_N! / (4 * v.ROWS!);
    if (v.ROWS! > 2 || v.COLS! > 2)
      throw new AttentionError('option', `variant: ${name} has ${describeVariant(variant)}: ROWS and COLS are 1 or 2`);
    if (!Number.isInteger(sizeX) || !Number.isInteger(sizeY)) {
      throw new AttentionError(
        'option',
        `variant: ${name} has ${describeVariant(variant)}: need TILE_N a multiple of 4·ROWS and ${cols} of 4·COLS`,
      );
    }
    checkFits(name, sizeX * sizeY, bytes(variant), facts);
  }
  const { LANES, ROWS } = numbers<'LANES' | 'ROWS'>(tiles.softmax.variant);
  if (!Number.isInteger(Math.log2(LANES))) throw new AttentionError('option', `variant: softmax.LANES is ${LANES}: need a power of 2`);
  checkFits('softmax', LANES * ROWS, softmaxBytes(tiles.softmax.variant), facts);
  return tiles;
}

function checkFits(name: string, invocations: number, bytes: number, facts: DeviceFacts): void {
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

/** `TILE_N=64 TILE_M=64`: how labels and messages spell a variant. */
export const describeVariant = (variant: Variant): string =>
  Object.entries(variant)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
