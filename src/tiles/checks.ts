/** Checks of the tiles of the fused kernels and of the backward kernels that use subgroups. Loaded with these kernels' tiles. */
import { AttentionError } from '../contract/errors.ts';
import { isVec4, type Problem } from '../contract/problem.ts';
import { describeVariant, numbers, type Variant } from '../gpu/kernel.ts';
import { scoreFlags } from '../kernels/band.ts';
import { flashDecodeBytes } from '../kernels/flash_decode.ts';
import { flashForwardBytes } from '../kernels/flash_forward.ts';
import { checkFits } from './choice.ts';
import { decodeFlags } from './decode.ts';
import type { DeviceFacts } from './facts.ts';

export function checkBaselineTiles(variant: Variant, { Dv }: Problem, facts: DeviceFacts): void {
  const { TILE_N, TILE_M, KEYS, BLOCKS } = numbers<'TILE_N' | 'TILE_M' | 'KEYS' | 'BLOCKS'>(variant);
  if (TILE_N % 4 !== 0 || TILE_M % 4 !== 0 || TILE_M % KEYS !== 0 || BLOCKS > 4 || TILE_M * BLOCKS < Dv) {
    const need = `TILE_N and TILE_M multiples of 4, TILE_M of KEYS, BLOCKS ≤ 4, TILE_M·BLOCKS ≥ Dv = ${Dv}`;
    throw new AttentionError('option', `variant: flash_forward has ${describeVariant(variant)}: need ${need}`);
  }
  checkFits('flash_forward', (TILE_N * TILE_M) / 16, flashForwardBytes(variant), facts);
}

export function checkRowTiles(variant: Variant, problem: Problem, facts: DeviceFacts): void {
  checkRows('flash_forward_row', [8, 16], variant, problem, isVec4(problem), facts);
}

/** Checks a row kernel that holds at most `mostRows` rows and `mostBlocks` blocks of 16 elements. @param isWhole whether the problem allows VEC4 */
export function checkRows(
  kernel: string,
  [mostRows, mostBlocks]: readonly [number, number],
  variant: Variant,
  problem: Problem,
  isWhole: boolean,
  facts: DeviceFacts,
): void {
  checkQuads(kernel, facts);
  const { D, Dv } = problem;
  const { SIZE, ROWS, D_BLOCKS, DV_BLOCKS } = numbers<'SIZE' | 'ROWS' | 'D_BLOCKS' | 'DV_BLOCKS'>(variant);
  const isRight = SIZE % 4 === 0 && isPower(ROWS, mostRows) && isPower(D_BLOCKS, mostBlocks) && isPower(DV_BLOCKS, mostBlocks);
  if (!isRight || 16 * D_BLOCKS < D || 16 * DV_BLOCKS < Dv) {
    const powers = `ROWS, D_BLOCKS and DV_BLOCKS powers of 2, ${mostRows} and ${mostBlocks} at most`;
    const need = `SIZE a multiple of 4, ${powers}, 16·D_BLOCKS ≥ D = ${D}, 16·DV_BLOCKS ≥ Dv = ${Dv}`;
    throw new AttentionError('option', `variant: ${kernel} has ${describeVariant(variant)}: need ${need}`);
  }
  checkFlags(kernel, variant, { ...rowTails(problem, variant), ...scoreFlags(problem) });
  checkVec4(kernel, variant, isWhole);
  checkFits(kernel, SIZE, 0, facts);
}

/** Whether rows of q and k (D), and of v and out (Dv), are shorter than the blocks that hold them. */
export function rowTails({ D, Dv }: Pick<Problem, 'D' | 'Dv'>, shape: Variant) {
  const { D_BLOCKS, DV_BLOCKS } = numbers<'D_BLOCKS' | 'DV_BLOCKS'>(shape);
  return { D_TAIL: D < 16 * D_BLOCKS, DV_TAIL: Dv < 16 * DV_BLOCKS };
}

/** Checks flags: one that the problem needs must be true, and MASK must be the mask's kind. @throws AttentionError 'option' */
function checkFlags(kernel: string, variant: Variant, flags: Readonly<Record<string, boolean | number>>): void {
  const wrong = Object.entries(flags).find(([name, need]) => variant[name] !== need && (need || name === 'MASK'));
  if (wrong) throw new AttentionError('option', `variant: ${kernel} has ${describeVariant(variant)}: ${wrong[0]} must be ${wrong[1]} here`);
}

const isPower = (value: number, most: number): boolean => Number.isInteger(Math.log2(value)) && value <= most;

/** @throws AttentionError 'option' for a shape that the kernel cannot have, or a flag that does not suit the problem; 'limit' */
export function checkDecodeTiles(variant: Variant, problem: Problem, facts: DeviceFacts): void {
  const { D, Dv } = problem;
  const v = numbers<'SPLITS' | 'SIZE' | 'LANES' | 'ROWS' | 'KEYS' | 'COLS' | 'D_BLOCKS' | 'DV_BLOCKS'>(variant);
  const got = `variant: flash_decode has ${describeVariant(variant)}`;
  const isShape =
    isPower(v.ROWS, 8) &&
    isPower(v.COLS, 4) &&
    isPower(v.D_BLOCKS, 16) &&
    isPower(v.DV_BLOCKS, 16) &&
    v.SIZE % v.LANES === 0 &&
    (v.LANES === 1 || v.ROWS <= v.LANES);
  const unit = 4 * v.COLS * v.LANES;
  if (!isShape || ![1, 4].includes(v.KEYS) || unit * v.D_BLOCKS < D || unit * v.DV_BLOCKS < Dv) {
    const blocks = `4·COLS·LANES·D_BLOCKS ≥ D = ${D}, with DV_BLOCKS ≥ Dv = ${Dv}`;
    const need = `ROWS 1 to 8, COLS 1 to 4, D_BLOCKS and DV_BLOCKS 1 to 16, powers of 2, KEYS 1 or 4, SIZE a multiple of LANES, LANES 1 or at least ROWS, ${blocks}`;
    throw new AttentionError('option', `${got}: need ${need}`);
  }
  checkFlags('flash_decode', variant, decodeFlags(problem, v));
  checkVec4('flash_decode', variant, isVec4(problem));
  checkFits('flash_decode', v.SIZE, flashDecodeBytes(variant), facts);
}

function checkQuads(kernel: string, facts: DeviceFacts): void {
  if (facts.hasQuads) return;
  throw new AttentionError('unsupported', `variant: ${kernel} needs the feature subgroups with ordered quads, which this device lacks`);
}

function checkVec4(kernel: string, variant: Variant, isWhole: boolean): void {
  if (!variant.VEC4 || isWhole) return;
  throw new AttentionError('option', `variant: ${kernel}.VEC4 is true: need D, Dv, offsets and strides that are multiples of 4`);
}

export function checkQuadTiles(variant: Variant, problem: Problem, facts: DeviceFacts): void {
  const { D, Dv } = problem;
  const isRight = variant.D === D && variant.DV === Dv;
  checkLanes('flash_forward_quad', variant, isRight, `D = ${D}, DV = ${Dv}`, isVec4(problem), facts);
}

/** @param need the condition of this kernel, in words @param isRight whether the variant meets it @param isWhole whether the problem allows VEC4 */
export function checkLanes(kernel: string, variant: Variant, isRight: boolean, need: string, isWhole: boolean, facts: DeviceFacts): void {
  checkQuads(kernel, facts);
  const got = `variant: ${kernel} has ${describeVariant(variant)}`;
  const { SIZE, LANES, ROWS, WIDTH } = numbers<'SIZE' | 'LANES' | 'ROWS' | 'WIDTH'>(variant);
  if (![4, 8, 16].includes(LANES) || SIZE % LANES !== 0 || ![1, 2, 4].includes(ROWS) || !isRight)
    throw new AttentionError('option', `${got}: need LANES 4, 8 or 16, SIZE a multiple of it, ROWS 1, 2 or 4, ${need}`);
  const [least, largest] = facts.subgroupSizes;
  if (LANES > Math.max(4, WIDTH || least) || (WIDTH > 0 && !facts.canFixSubgroupSize) || WIDTH > largest)
    throw new AttentionError('unsupported', `${got}: subgroups here have ${least} to ${largest} lanes`);
  checkVec4(kernel, variant, isWhole);
  checkFits(kernel, SIZE, 0, facts);
}
