/** Classes of GPUs for the quad kernels, and how much a lane of each class can hold. */
import type { DeviceFacts } from './facts.ts';

/**
 * A class of GPUs for the kernels in which quads share rows. It says how many vec4 a lane may hold.
 *   `forward` and `dq` count the vec4 of one tensor, ROWS · D_VECS. flash_forward_quad holds two such tensors, flash_backward_dq_quad three.
 *   `dkv` counts all vec4 that flash_backward_dkv_quad holds, with those of the row that it works on.
 *   `width` is the subgroup size to ask for.
 * Classes are told apart by subgroup size where that is possible, else by vendor. A vendor is a first guess at the size of the register file.
 */
export interface QuadClass {
  readonly name: string;
  readonly fits: (facts: DeviceFacts) => boolean;
  readonly forward: number;
  readonly dq: number;
  readonly dkv: number;
  readonly width: number; // 0: the compiler chooses
}

/**
 * The first class that fits is taken. The comment at each class has registers / occupancy of flash_forward_quad for f32, with D 64 and with D 128, in the
 * vendor's unit (Mesa 26.1, 24 Nov 2026). Only the last class spills. The same numbers of the backward kernels, dq and then dkv; none of them spills:
 *
 *     AMD RDNA 3   144 / 10, 144 / 10; 96 / 16, 120 / 12     NVIDIA        136 / 12, 136 / 12; 96 / 20, 112 / 16
 *     AMD RDNA 2   80 / 12, 80 / 12; 96 / 10, 64 / 16        Adreno        48 / 4, 48 / 4; 32 / 6, 32 / 6
 *     Intel Xe2    199 / 16, 205 / 16; 253 / 16, 203 / 16    Apple         179 / 576, 195 / 512; 243 / 384, 191 / 512
 *     Intel Arc    105 / 8, 117 / 8; 104 / 8, 109 / 8        Intel UHD     104 / 8, 116 / 8; 103 / 8, 108 / 8
 *
 * dkv with 2 rows of 2 vec4, 20 in all, spills 7 registers on Xe2, 6 on Apple, and 9 to 18 on Arc and UHD.
 */
const QUAD_CLASSES: readonly QuadClass[] = [
  {
    name: 'AMD from RDNA 3 on', // 192 / 8 and 192 / 8. Only subgroups of 32 lanes issue multiply-adds in pairs
    fits: ({ vendor, architecture }) => vendor === 'amd' && /^rdna-?[3-9]/.test(architecture),
    forward: 16,
    dq: 8,
    dkv: 20,
    width: 32,
  },
  { name: 'NVIDIA', fits: ({ vendor }) => vendor === 'nvidia', forward: 16, dq: 8, dkv: 20, width: 0 }, // 168 / 12 and 168 / 12
  // 48 / 4 and 48 / 4. With forward 8: 32 / 6, and multiply-adds are 51% of the instructions instead of 69%
  { name: 'Adreno', fits: ({ vendor }) => vendor === 'qualcomm', forward: 16, dq: 8, dkv: 20, width: 0 },
  // Apple M1 and M2 231 / 448; with forward 16 they spill 90 registers. AMD RDNA 2 96 / 10; with forward 16: 168 / 6
  { name: 'subgroups of 32 lanes and more', fits: ({ subgroupSizes }) => subgroupSizes[0] >= 32, forward: 8, dq: 4, dkv: 18, width: 0 },
  // Intel Xe2 225 / 16. Subgroups of 32 lanes spill 56 registers
  {
    name: 'subgroups of 16 lanes',
    fits: (facts) => facts.canFixSubgroupSize && facts.subgroupSizes[0] === 16,
    forward: 8,
    dq: 4,
    dkv: 18,
    width: 16,
  },
  // Intel Arc and UHD 116 / 8 and 121 / 8. Subgroups of 16 lanes spill 58 registers
  {
    name: 'subgroups of 8 lanes',
    fits: (facts) => facts.canFixSubgroupSize && facts.subgroupSizes[0] === 8,
    forward: 8,
    dq: 4,
    dkv: 16,
    width: 8,
  },
  // Intel Arc whose compiler chooses 16 lanes: 111 / 16, and 143 / 16 with 12 spilled registers
  { name: 'others', fits: () => true, forward: 2, dq: 2, dkv: 12, width: 0 },
];

export function quadClassOf(facts: DeviceFacts): QuadClass {
  const found = QUAD_CLASSES.find(({ fits }) => fits(facts))!;
  return { ...found, width: facts.canFixSubgroupSize ? found.width : 0 };
}

export interface QuadShape {
  readonly LANES: number;
  readonly ROWS: number;
}

/**
 * As many rows as a lane can hold, over as few lanes as possible. undefined where a lane cannot hold its part of even one row, over all lanes.
 * @param length rows that there are
 * @param size elements of a row: the larger of D and Dv
 * @param isHeld whether a lane can hold `rows` rows of `vecs` vec4 each
 */
export function quadShape(
  length: number,
  size: number,
  facts: DeviceFacts,
  isHeld: (rows: number, vecs: number) => boolean,
): QuadShape | undefined {
  const shapes = [4, 2, 1].flatMap((rows) => lanesOf(facts).map((lanes) => ({ LANES: lanes, ROWS: rows })));
  return shapes.find(({ LANES, ROWS }) => ROWS <= 2 ** Math.ceil(Math.log2(length)) && isHeld(ROWS, Math.ceil(size / (4 * LANES))));
}

/** One row over as many lanes as may share it. */
export const leastShape = (facts: DeviceFacts): QuadShape => ({ LANES: lanesOf(facts).at(-1)!, ROWS: 1 });

const lanesOf = ({ subgroupSizes }: DeviceFacts): readonly number[] =>
  [4, 8, 16].filter((lanes) => lanes === 4 || lanes <= subgroupSizes[0]);
