/** Chooses the fused kernel and its tiles: a pure function of the problem, the device's facts and what the caller forces. Loaded when first needed. */
import { decodeTiles, isDecode } from './decode-tiles.ts';
import { AttentionError } from './errors.ts';
import { skipsZeros } from './kernels/context.ts';
import { describeVariant, type Variant } from './kernels/kernel.ts';
import { isVec4, type Problem } from './problem.ts';
import { force } from './tile-checks.ts';
import { checkBaselineTiles, checkDecodeTiles, checkQuadTiles, checkRowTiles } from './tile-checks-fused.ts';
import { type Choice, chooseAlgorithm, type DeviceFacts } from './tiles.ts';

/** What tune measures: whatever the device and the problem allow, the library's own choice among it. */
export function candidates(problem: Problem, facts: DeviceFacts): { algorithm: 'explicit' | 'fused'; variant: Variant }[] {
  const fused = (name: string, values: number[]) => values.map((value) => ({ algorithm: 'fused' as const, variant: { [name]: value } }));
  const all = [
    { algorithm: 'explicit' as const, variant: {} },
    { algorithm: 'fused' as const, variant: {} },
    ...fused('flash_forward.TILE_N', [16, 32, 64]),
    ...fused('flash_forward_quad.ROWS', [1, 2, 4]),
    ...fused('flash_forward_row.ROWS', [1, 2, 4, 8]),
    ...fused('flash_decode.SPLITS', isDecode(problem, facts) ? [1, 2, 4, 8, 16, 32, 64] : []),
  ];
  const seen = new Set<string>();
  return all.filter((candidate) => {
    const chosen = { ...problem, ...candidate };
    try {
      const { algorithm } = chooseAlgorithm(chosen);
      const { kernel, variant } = algorithm === 'explicit' ? { kernel: algorithm, variant: {} } : chooseFusedTiles(chosen, facts);
      const label = `${kernel} ${describeVariant(variant)}`;
      return !seen.has(label) && seen.add(label);
    } catch (error) {
      if (error instanceof AttentionError) return false;
      throw error;
    }
  });
}

export type FusedKernel = 'flash_forward' | 'flash_forward_quad' | 'flash_forward_row' | 'flash_decode';

/** The fused pass: its kernel and the kernel's tiles. `problem.variant` forces the kernel whose name it has. */
export function chooseFusedTiles(problem: Problem, facts: DeviceFacts): { kernel: FusedKernel } & Choice {
  const forced = Object.keys(problem.variant)[0]?.split('.')[0];
  const kernel = isFusedKernel(forced)
    ? forced
    : isDecode(problem, facts)
      ? 'flash_decode'
      : !facts.hasQuads
        ? 'flash_forward'
        : facts.isSoftware
          ? 'flash_forward_row'
          : 'flash_forward_quad';
  const tiles = FUSED_TILES[kernel](problem, facts);
  const choice = force({ [kernel]: tiles }, problem)[kernel]!;
  FUSED_CHECKS[kernel](choice.variant, problem, facts);
  return { kernel, ...choice };
}

const FUSED_TILES: Record<FusedKernel, (problem: Problem, facts: DeviceFacts) => Choice> = {
  flash_forward: baselineTiles,
  flash_forward_quad: quadTiles,
  flash_forward_row: rowTiles,
  flash_decode: decodeTiles,
};
const FUSED_CHECKS: Record<FusedKernel, (variant: Variant, problem: Problem, facts: DeviceFacts) => void> = {
  flash_forward: checkBaselineTiles,
  flash_forward_quad: checkQuadTiles,
  flash_forward_row: checkRowTiles,
  flash_decode: checkDecodeTiles,
};
const isFusedKernel = (name: string | undefined): name is FusedKernel => name !== undefined && Object.hasOwn(FUSED_TILES, name);

const fusedFlags = (problem: Problem) => ({ SKIP_ZEROS: skipsZeros(problem), DROPOUT: problem.dropout !== undefined });

function baselineTiles(problem: Problem): Choice {
  const { N, Dv, q, k } = problem;
  const rows = N <= 4 ? 4 : N <= 16 ? 16 : 32;
  const variant = { Q: q.dtype, K: k.dtype, TILE_N: rows, TILE_M: 32, STEP: 16, BLOCKS: Math.ceil(Dv / 32), ...fusedFlags(problem) };
  return { variant, reason: `${rows} queries a workgroup for ${N}` };
}

/**
 * A class of GPUs for flash_forward_quad. `tile` is how many vec4 of q a lane may hold, ROWS · D_VECS: out takes as many again. Subgroup sizes
 * tell the classes apart as far as they can; vendors are a first guess at the size of the register file. `width` is the subgroup size to ask for.
 */
interface QuadClass {
  readonly name: string;
  readonly fits: (facts: DeviceFacts) => boolean;
  readonly tile: number;
  readonly width: number; // 0: the compiler chooses
}

/** The first that fits. Registers / occupancy, in each vendor's unit, for f32 and D 64 and 128: Mesa 26.1, 24 Nov 2026. Only the last spills. */
const QUAD_CLASSES: readonly QuadClass[] = [
  {
    name: 'AMD from RDNA 3 on', // 192 / 8 and 192 / 8. Only subgroups of 32 lanes issue multiply-adds in pairs
    fits: ({ vendor, architecture }) => vendor === 'amd' && /^rdna-?[3-9]/.test(architecture),
    tile: 16,
    width: 32,
  },
  { name: 'NVIDIA', fits: ({ vendor }) => vendor === 'nvidia', tile: 16, width: 0 }, // 168 / 12 and 168 / 12
  { name: 'Adreno', fits: ({ vendor }) => vendor === 'qualcomm', tile: 16, width: 0 }, // 48 / 4 and 48 / 4; tile 8: 32 / 6, multiply-adds 51% instead of 69%
  // Apple M1 and M2 231 / 448; tile 16 spills 90. AMD RDNA 2 96 / 10; tile 16: 168 / 6
  { name: 'subgroups of 32 lanes and more', fits: ({ subgroupSizes }) => subgroupSizes[0] >= 32, tile: 8, width: 0 },
  // Intel Xe2 225 / 16; 32 lanes spill 56
  { name: 'subgroups of 16 lanes', fits: (facts) => facts.canFixSubgroupSize && facts.subgroupSizes[0] === 16, tile: 8, width: 16 },
  // Intel Arc and UHD 116 / 8 and 121 / 8; 16 lanes spill 58
  { name: 'subgroups of 8 lanes', fits: (facts) => facts.canFixSubgroupSize && facts.subgroupSizes[0] === 8, tile: 8, width: 8 },
  { name: 'others', fits: () => true, tile: 2, width: 0 }, // Intel Arc that takes 16 lanes by itself: 111 / 16, and 143 / 16 with 12 spills
];

/** As many rows as the class's tile holds, over as few lanes. */
function quadTiles(problem: Problem, facts: DeviceFacts): Choice {
  const { N, D, Dv, q, k } = problem;
  const { name, tile, width } = QUAD_CLASSES.find(({ fits }) => fits(facts))!;
  const widths = [4, 8, 16].filter((lanes) => lanes === 4 || lanes <= facts.subgroupSizes[0]);
  const shapes = [4, 2, 1].flatMap((rows) => widths.map((lanes) => ({ LANES: lanes, ROWS: rows })));
  const isSmall = ({ LANES, ROWS }: { LANES: number; ROWS: number }) =>
    ROWS <= 2 ** Math.ceil(Math.log2(N)) && ROWS * Math.ceil(Math.max(D, Dv) / (4 * LANES)) <= tile;
  const shape = shapes.find(isSmall) ?? shapes.at(-1)!;
  const variant = {
    ...{ Q: q.dtype, K: k.dtype, VEC4: isVec4(problem), WIDTH: facts.canFixSubgroupSize ? width : 0, SIZE: 64 },
    ...{ ...shape, D, DV: Dv, ...fusedFlags(problem) },
  };
  return { variant, reason: `subgroups, class "${name}"; ${shape.LANES} lanes share ${shape.ROWS} queries of ${Math.max(D, Dv)}` };
}

/** As many queries an invocation as its compiler bears: the kernel's text is as long as ROWS · D. */
function rowTiles(problem: Problem, { subgroupSizes }: DeviceFacts): Choice {
  const { N, D, Dv, q, k } = problem;
  const size = Math.max(4, Math.min(subgroupSizes[1], 64));
  const blocks = (width: number) => 2 ** Math.ceil(Math.log2(width / 16));
  const dBlocks = Math.max(1, blocks(D));
  const dvBlocks = Math.max(1, blocks(Dv));
  const most = Math.min(8, 32 / Math.max(dBlocks, dvBlocks));
  const rows = Math.min(most, 2 ** Math.ceil(Math.log2(N / size)));
  const variant = {
    ...{ Q: q.dtype, K: k.dtype, VEC4: isVec4(problem), SIZE: size, ROWS: Math.max(1, rows) },
    ...{ D_BLOCKS: dBlocks, DV_BLOCKS: dvBlocks, ...fusedFlags(problem) },
  };
  return { variant, reason: `a software device with subgroups; ${variant.ROWS} queries an invocation for heads of ${Math.max(D, Dv)}` };
}
