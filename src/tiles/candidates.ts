/** The candidates that `tune` measures: shapes of each kernel that the device and the problem allow. Loaded with the first call of `tune`. */
import { AttentionError } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import { describeVariant, numbers } from '../gpu/kernel.ts';
import type { FusedKernel, KernelVariants } from '../kernels/variants.ts';
import { chooseAlgorithm } from './algorithm.ts';
import { decodeShapes, isDecode } from './decode.ts';
import { chooseExplicitTiles } from './explicit.ts';
import type { DeviceFacts } from './facts.ts';
import { baselineShape, chooseFusedTiles, ownShape } from './fused.ts';

export interface Candidate {
  readonly algorithm: 'explicit' | 'fused';
  readonly variant: KernelVariants; // as the option `variant`; empty: the library's own choice
}

type Shape = Readonly<Record<string, number>>;

const KERNELS = ['explicit', 'flash_forward', 'flash_forward_quad', 'flash_forward_row', 'flash_decode'] as const;

/**
 * A list of candidates for each fused kernel, and one for the three explicit kernels together. A list begins with the library's shape for its kernel. The
 * first list begins with the library's choice for the problem.
 */
export function candidates(problem: Problem, facts: DeviceFacts): readonly (readonly [Candidate, ...Candidate[]])[] {
  const { algorithm } = chooseAlgorithm(problem);
  const chosen = algorithm === 'explicit' ? algorithm : chooseFusedTiles(problem, facts).kernel;
  const labels = new Set<string>();
  const isNew = (candidate: Candidate) => {
    const label = labelOf({ ...problem, ...candidate }, facts);
    return label !== undefined && !labels.has(label) && labels.add(label) !== undefined;
  };
  const kernels = [chosen, ...KERNELS.filter((kernel) => kernel !== chosen)];
  const lists = kernels.map((kernel) => [
    ...(kernel === chosen ? [{ algorithm, variant: {} }] : []),
    ...(kernel === 'explicit' ? explicitCandidates(problem) : fusedCandidates(kernel, problem, facts)),
  ]);
  return lists.map((list) => list.filter(isNew)).filter((list): list is [Candidate, ...Candidate[]] => list.length > 0);
}

/** The kernels of a problem and their tiles, as text. undefined where they do not fit. */
function labelOf(problem: Problem, facts: DeviceFacts): string | undefined {
  try {
    if (chooseAlgorithm(problem).algorithm === 'fused') {
      const { kernel, variant } = chooseFusedTiles(problem, facts);
      return `${kernel} ${describeVariant(variant)}`;
    }
    const tiles = Object.entries(chooseExplicitTiles(problem, facts));
    return tiles.map(([kernel, { variant }]) => `${kernel} ${describeVariant(variant)}`).join(' ');
  } catch (error) {
    if (error instanceof AttentionError) return undefined;
    throw error;
  }
}

function explicitCandidates({ N }: Problem): Candidate[] {
  const rows = (lanes: number) => Math.max(1, Math.min(64 / lanes, 2 ** Math.ceil(Math.log2(N))));
  const lanes = [4, 16, 64, 256].map((LANES) => ({ softmax: { LANES, ROWS: rows(LANES) } }));
  return [{}, ...lanes].map((variant) => ({ algorithm: 'explicit', variant }));
}

function fusedCandidates(kernel: FusedKernel, problem: Problem, facts: DeviceFacts): Candidate[] {
  return shapesOf(kernel, problem, facts).map((shape) => ({ algorithm: 'fused', variant: { [kernel]: shape } }));
}

const each = (name: string, values: readonly number[]): Shape[] => values.map((value) => ({ [name]: value }));

/** Shapes to try. The first is the library's shape for the kernel: it forces one constant to the value that the library chooses. */
function shapesOf(kernel: FusedKernel, problem: Problem, facts: DeviceFacts): readonly Shape[] {
  if (kernel === 'flash_decode' && !isDecode(problem, facts)) return [];
  const { TILE_N, ROWS, SIZE, SPLITS } = numbers<'TILE_N' | 'ROWS' | 'SIZE' | 'SPLITS'>(ownShape(kernel, problem, facts));
  const sizes = each('SIZE', [SIZE / 2, SIZE * 2, SIZE * 4]);
  switch (kernel) {
    case 'flash_forward':
      return [{ TILE_N }, ...each('TILE_N', [16, 32, 64]), baselineShape(problem, false), baselineShape(problem, true)];
    case 'flash_forward_quad':
      return [{ ROWS }, ...[4, 8, 16].flatMap((LANES) => each('ROWS', [4, 2, 1]).map((rows) => ({ ...rows, LANES }))), ...sizes];
    case 'flash_forward_row':
      return [{ ROWS }, ...each('ROWS', [1, 2, 4, 8]), ...sizes];
    case 'flash_decode':
      return [{ SPLITS }, ...each('SPLITS', [1, 2, 4, 8, 16, 32, 64]), ...sizes, ...decodeShapes(problem, facts)];
  }
}
