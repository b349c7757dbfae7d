/** Random problems: shapes, options, types, strides and offsets, for fast-check to draw and to shrink. */
import fc from 'fast-check';

export interface FuzzProblem {
  readonly seed: number; // of the tensors' numbers
  readonly B: number;
  readonly Hk: number;
  readonly group: number; // query heads a key head
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly Dv: number;
  readonly qType: 'f32' | 'f16';
  readonly kType: 'f32' | 'f16';
  readonly gap: number; // elements between rows that belong to nobody
  readonly offset: number; // of every input, in multiples of 4 bytes
  readonly isInterleaved: boolean; // [B,N,H,D] instead of [B,H,N,D]
  readonly scale: number | undefined; // in units of 1/√D: scores stay below about 20, where f32 rounding stays below the comparison's bound
  readonly isCausal: boolean;
  readonly causalOffset: number | 'lower-right';
  readonly window: readonly [number, number] | undefined;
  readonly softcap: number;
  readonly mask: { readonly kind: 'bool' | 'f32' | 'f16'; readonly broadcast: readonly boolean[]; readonly rank: number } | undefined;
  readonly lengths: boolean;
  readonly alibi: boolean;
  readonly sinks: boolean;
  readonly dropout: number; // 0: none
  readonly gradients: boolean; // wanted: see hasGradients
  readonly maskGradient: boolean; // with them, where the mask is additive
}

/** Multiplications of one of the matrix products: beyond these the reference takes longer than all else. */
const MOST_PRODUCTS = 2 ** 20;

/** Whether the backward pass runs too. */
export const hasGradients = ({ gradients, B, Hk, group, N, M, D, Dv }: FuzzProblem): boolean =>
  gradients && B * Hk * group * N * M * Math.max(D, Dv) <= MOST_PRODUCTS;

/** Whether kernels do what the problem does not need, so that fewer are compiled: seven problems of eight, by bits of the seed that choose nothing else. */
export const isGeneral = ({ seed }: FuzzProblem): boolean => Math.floor(seed / 8) % 8 > 0;

const often = <T>(value: T, other: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, { weight: 2, arbitrary: other });
const length = fc.oneof(
  fc.integer({ min: 1, max: 9 }),
  fc.integer({ min: 1, max: 70 }),
  fc.constantFrom(15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129),
);
const headSize = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(1, 4, 8, 16, 17, 32, 33, 64, 80, 128, 256));
/** Mostly D's, which undefined stands for: quads compile each pair of sizes, and that takes longer than the rest of a problem. */
const valueSize = fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: headSize });

/** By its magnitude, over all that the contract allows. */
const softcap = fc.double({ min: -30, max: 30, noNaN: true }).map((exponent) => Math.min(1e30, Math.max(1e-30, 10 ** exponent)));

/** What onnxruntime's operator has not. */
const extras = {
  window: often<FuzzProblem['window']>(undefined, fc.tuple(reach(), reach())),
  alibi: often(false, fc.constant(true)),
  sinks: often(false, fc.constant(true)),
  dropout: often(0, fc.constantFrom(0.1, 0.5, 0.9)),
};
const noExtras = { window: fc.constant(undefined), alibi: fc.constant(false), sinks: fc.constant(false), dropout: fc.constant(0) };

/**
 * One problem in four has no extras, so that onnxruntime judges more of them.
 * @param hasHalf whether f16 may be drawn
 */
export const fuzzProblem = (hasHalf: boolean): fc.Arbitrary<FuzzProblem> =>
  fc
    .oneof({ weight: 3, arbitrary: problem(hasHalf, extras) }, { weight: 1, arbitrary: problem(hasHalf, noExtras) })
    .map(({ D, Dv = D, ...others }) => ({ D, Dv, ...others }));

const problem = (
  hasHalf: boolean,
  extraOptions: { [key in keyof typeof extras]: fc.Arbitrary<FuzzProblem[key]> },
): fc.Arbitrary<Omit<FuzzProblem, 'Dv'> & { readonly Dv: number | undefined }> =>
  fc.record({
    seed: fc.nat(),
    B: fc.integer({ min: 1, max: 3 }),
    Hk: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 3 }),
    ...{ N: length, M: length, D: headSize, Dv: valueSize },
    qType: hasHalf ? fc.constantFrom('f32', 'f16') : fc.constant('f32'),
    kType: hasHalf ? fc.constantFrom('f32', 'f16') : fc.constant('f32'),
    gap: fc.constantFrom(0, 0, 1, 4),
    offset: fc.constantFrom(0, 1, 3, 64),
    isInterleaved: fc.boolean(),
    scale: often<number | undefined>(undefined, fc.constantFrom(0, 1, -0.5, 0.01, 3)),
    isCausal: fc.boolean(),
    causalOffset: often<number | 'lower-right'>(0, fc.oneof(fc.integer({ min: -80, max: 80 }), fc.constant('lower-right' as const))),
    softcap: often(0, fc.oneof(fc.constantFrom(0.5, 2, 30), softcap)),
    mask: often<FuzzProblem['mask']>(
      undefined,
      fc.record({
        kind: fc.constantFrom('bool', 'f32', 'f16'),
        broadcast: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
        rank: fc.integer({ min: 1, max: 4 }),
      }),
    ),
    lengths: often(false, fc.constant(true)),
    ...extraOptions,
    ...{ gradients: often(false, fc.constant(true)), maskGradient: fc.boolean() },
  });

function reach(): fc.Arbitrary<number> {
  return fc.oneof(fc.integer({ min: 0, max: 20 }), fc.constant(Number.POSITIVE_INFINITY));
}
