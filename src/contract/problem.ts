/**
 * The contract of attention. Options and shapes are checked and normalised once, into one plain record. The kernels, the reference and the plan read it.
 * Shapes have the same letters everywhere: B batch, H query heads, Hk key/value heads, N queries, M keys, D head size of q and k, Dv head size of v.
 */
import { AttentionError, quote } from './errors.ts';
import { ALGORITHMS, type Algorithm, type AttentionProblem, type Dropout, SCORES, type ScoresForm } from './options.ts';
import { copyList, readOptions } from './record.ts';
import { BYTES, checkLayout, type DType, describeLayout, type Layout, rowMajor, type TensorLayout } from './tensor.ts';

/** The reach of a window without an end on this side. It lies beyond every key, and i32 sums in the shaders do not overflow with it. */
export const UNLIMITED = 2 ** 30;
/** The largest N, M and |causalOffset|. i32 sums in the shaders do not overflow with it. */
const FARTHEST = 2 ** 28;

/** A checked problem with all defaults filled in. Plain data. */
export interface Problem {
  readonly B: number;
  readonly H: number;
  readonly Hk: number;
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly Dv: number;
  readonly q: Layout;
  readonly k: Layout;
  readonly v: Layout;
  readonly out: Layout;
  readonly mask: Layout | undefined; // rank 4, stride 0 along broadcast axes
  readonly keyLengths: Layout | undefined;
  readonly alibiSlopes: Layout | undefined;
  readonly sinks: Layout | undefined;
  readonly scale: number;
  readonly causalOffset: number | 'lower-right';
  /** How many keys a query sees before its position (left) and after it (right). UNLIMITED: all. A causal mask is right = 0. */
  readonly left: number;
  readonly right: number;
  readonly softcap: number; // 0: off
  readonly dropout: Dropout | undefined; // undefined also for probability 0
  readonly returnLse: boolean;
  readonly returnScores: ScoresForm | undefined;
  readonly returnWeights: boolean; // also return the weights; with returnScores both are returned, which only selfAttention asks for
  readonly algorithm: Algorithm;
  readonly variant: Readonly<Record<string, unknown>>; // by kernel; what is in it is checked where the kernel's tiles are chosen
  readonly forcedBy: 'caller' | 'tuning'; // who chose algorithm and variant
}

/** Whether a causal mask or a window limits which keys a query sees. */
export const isBanded = ({ left, right }: Problem): boolean => left < UNLIMITED || right < UNLIMITED;

export const OPTIONS = [
  ...['scale', 'isCausal', 'causalOffset', 'window', 'softcap', 'mask', 'keyLengths', 'alibiSlopes', 'sinks', 'dropout'],
  ...['returnLse', 'returnScores', 'algorithm', 'variant'],
];
export const PROBLEM_KEYS = [...OPTIONS, 'q', 'k', 'v', 'out', 'backward', 'maskGradient'];

/** Checks a problem and fills in its defaults. Every error names `caller` and quotes the value. */
export function normalize(caller: string, given: AttentionProblem): Problem {
  const problem = readOptions(caller, given, PROBLEM_KEYS);
  if (problem.backward !== undefined)
    throw new AttentionError('option', `${caller}: backward is ${quote(problem.backward)}: only plan takes it`);
  if (problem.maskGradient !== undefined && problem.maskGradient !== false)
    throw new AttentionError(
      'option',
      `${caller}: maskGradient is ${quote(problem.maskGradient)}, backward is undefined: only plan takes it, with backward`,
    );
  const options = checkOptions(caller, problem);
  const tensors = checkTensors(caller, problem);
  const [B, H, N, D] = tensors.q.shape as [number, number, number, number];
  const [, Hk, M, Dv] = tensors.v.shape as [number, number, number, number];
  if (Math.max(N, M) > FARTHEST) throw new AttentionError('limit', `${caller}: ${N} queries and ${M} keys: at most ${FARTHEST} of each`);
  const { mask, keyLengths, alibiSlopes, sinks } = problem;
  return {
    ...{ B, H, Hk, N, M, D, Dv },
    ...tensors,
    mask: mask === undefined ? undefined : checkMask(caller, mask, [B, H, N, M]),
    keyLengths: keyLengths === undefined ? undefined : checkVector(caller, 'keyLengths', keyLengths, 'B', B, 'u32'),
    alibiSlopes: alibiSlopes === undefined ? undefined : checkVector(caller, 'alibiSlopes', alibiSlopes, 'H', H, 'f32'),
    sinks: sinks === undefined ? undefined : checkVector(caller, 'sinks', sinks, 'H', H, 'f32'),
    ...options,
    returnWeights: false,
    scale: options.scale ?? 1 / Math.sqrt(D),
  };
}

function checkTensors(caller: string, problem: AttentionProblem): Pick<Problem, 'q' | 'k' | 'v' | 'out'> {
  const q = checkTensor(caller, 'q', problem.q, 'B,H,N,D');
  const k = checkTensor(caller, 'k', problem.k, 'B,Hk,M,D');
  const v = checkTensor(caller, 'v', problem.v, 'B,Hk,M,Dv');
  const [B, H, N, D] = q.shape as [number, number, number, number];
  const [kB, Hk, M, kD] = k.shape as [number, number, number, number];
  const need = (what: string, a: string, ta: Layout, b: string, tb: Layout): never => {
    throw new AttentionError('shape', `${caller}: ${a} is ${quote(ta.shape)}, ${b} is ${quote(tb.shape)}: ${what}`);
  };
  if (kB !== B) need('B must be equal', 'k', k, 'q', q);
  if (kD !== D) need('D must be equal', 'k', k, 'q', q);
  if (D === 0) throw new AttentionError('shape', `${caller}: q is ${quote(q.shape)}: D must be at least 1`);
  if (v.shape[3] === 0) throw new AttentionError('shape', `${caller}: v is ${quote(v.shape)}: Dv must be at least 1`);
  if (Hk === 0 ? H !== 0 : H % Hk !== 0) need(`the ${Hk} key heads must divide the ${H} query heads`, 'k', k, 'q', q);
  if (v.shape[0] !== B) need('B must be equal', 'v', v, 'q', q);
  if (v.shape[1] !== Hk) need('the key and value heads must be equal', 'v', v, 'k', k);
  if (v.shape[2] !== M) need('M must be equal', 'v', v, 'k', k);
  if (v.dtype !== k.dtype)
    throw new AttentionError('dtype', `${caller}: v is ${describeLayout(v)}, k is ${describeLayout(k)}: the types must be equal`);
  const shape = [B, H, N, v.shape[3]!];
  const { out: layout = { shape, dtype: q.dtype } } = problem;
  const out = checkTensor(caller, 'out', layout, 'B,H,N,Dv', 'output');
  if (out.shape.some((size, i) => size !== shape[i]))
    throw new AttentionError('shape', `${caller}: out is ${quote(out.shape)}: need ${quote(shape)}`);
  if (out.dtype !== q.dtype)
    throw new AttentionError('dtype', `${caller}: out is ${describeLayout(out)}, q is ${describeLayout(q)}: the types must be equal`);
  return { q, k, v, out };
}

/** The least and the largest softcap. Between them the quotients and products of softcap stay normal numbers in f32. */
const SOFTCAPS = [1e-30, 1e30] as const;

export const isFiniteF32 = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(Math.fround(value));

function checkOptions(caller: string, options: AttentionProblem) {
  const fail = (name: string, value: unknown, need: string): never => {
    throw new AttentionError('option', `${caller}: ${name} is ${quote(value)}: need ${need}`);
  };
  const { scale, isCausal = false, causalOffset = 0, softcap = 0 } = options;
  const window = copyList(`${caller}: window`, options.window);
  const { returnLse = false, returnScores, algorithm = 'auto', variant = {} } = options;
  if (scale !== undefined && !isFiniteF32(scale)) fail('scale', scale, 'a finite number, also as f32');
  if (typeof isCausal !== 'boolean') fail('isCausal', isCausal, 'true or false');
  if (causalOffset !== 'lower-right' && !Number.isSafeInteger(causalOffset))
    fail('causalOffset', causalOffset, "an integer or 'lower-right'");
  const isReach = (reach: unknown) => reach === Number.POSITIVE_INFINITY || (Number.isSafeInteger(reach) && (reach as number) >= 0);
  if (window !== undefined && !(Array.isArray(window) && window.length === 2 && window.every(isReach))) {
    fail('window', window, '[left, right], integers ≥ 0 or Infinity');
  }
  if (typeof softcap !== 'number' || (softcap !== 0 && !(softcap >= SOFTCAPS[0] && softcap <= SOFTCAPS[1])))
    fail('softcap', softcap, `0, or a number from ${SOFTCAPS[0]} to ${SOFTCAPS[1]}`);
  const dropout = options.dropout === undefined ? undefined : readDropout(caller, options.dropout);
  if (typeof returnLse !== 'boolean') fail('returnLse', returnLse, 'true or false');
  if (returnScores !== undefined && !SCORES.includes(returnScores)) fail('returnScores', returnScores, `one of ${SCORES.join(', ')}`);
  if (!ALGORITHMS.includes(algorithm)) fail('algorithm', algorithm, `one of ${ALGORITHMS.join(', ')}`);
  const [left, right] = window ?? [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const band = withinReach(causalOffset, left, isCausal ? 0 : right);
  if (options.alibiSlopes !== undefined && band.causalOffset !== causalOffset)
    throw new AttentionError('limit', `${caller}: causalOffset is ${causalOffset} with alibiSlopes: at most ${FARTHEST} to either side`);
  return {
    ...{ scale, softcap, returnLse, returnScores, algorithm },
    ...band,
    dropout: dropout && dropout.probability > 0 ? dropout : undefined,
    variant: readVariant(caller, variant),
    forcedBy: 'caller' as const,
  };
}

/** Kernels, and constants of theirs, without what is undefined. */
export function readVariant(caller: string, variant: object, whole = 'variant'): Problem['variant'] {
  const definedOf = (name: string, record: object): [string, object][] =>
    Object.entries(readOptions(caller, record, undefined, name)).filter(([, value]) => value !== undefined);
  const isObject = (constants: unknown) => constants !== null && typeof constants === 'object' && !Array.isArray(constants);
  const read = ([kernel, constants]: [string, object]) => [
    kernel,
    isObject(constants) ? Object.fromEntries(definedOf(`${whole}.${kernel}`, constants)) : constants,
  ];
  return Object.fromEntries(definedOf(whole, variant).map(read));
}

/**
 * Clamps an offset that lies beyond every key, so that sums of i32 in shaders do not overflow. The window's end that the offset leads is shortened by as
 * much. No query sees other keys than before.
 */
function withinReach(offset: number | 'lower-right', left: number, right: number): Pick<Problem, 'causalOffset' | 'left' | 'right'> {
  const causalOffset = offset === 'lower-right' ? offset : Math.min(Math.max(offset, -FARTHEST), FARTHEST);
  const rest = offset === 'lower-right' ? 0 : offset - (causalOffset as number);
  const reach = (keys: number) => Math.min(Math.max(keys, 0), UNLIMITED);
  return { causalOffset, left: reach(left - Math.max(rest, 0)), right: reach(right + Math.min(rest, 0)) };
}

export function readDropout(caller: string, dropout: Dropout): Dropout {
  const { probability, seed } = readOptions(caller, dropout, ['probability', 'seed'], 'dropout');
  if (!(typeof probability === 'number' && probability >= 0 && probability < 1)) {
    throw new AttentionError('option', `${caller}: dropout.probability is ${quote(probability)}: need a number from 0 to below 1`);
  }
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new AttentionError('option', `${caller}: dropout.seed is ${quote(seed)}: need an integer from 0 to 2^53 − 1`);
  return { probability, seed };
}

/** Checks one of q, k, v, out: rank 4, f32 or f16. */
function checkTensor(caller: string, name: string, tensor: TensorLayout, letters: string, use: 'input' | 'output' = 'input'): Layout {
  const layout = checkLayout(`${caller}: ${name}`, tensor, use);
  if (layout.shape.length !== 4)
    throw new AttentionError('shape', `${caller}: ${name} is ${quote(layout.shape)}: need rank 4, [${letters}]`);
  requireDType(`${caller}: ${name}`, layout, ['f32', 'f16']);
  return layout;
}

/** Checks that a tensor has one of these element types. */
export function requireDType(what: string, layout: Layout, allowed: readonly DType[]): void {
  if (!allowed.includes(layout.dtype))
    throw new AttentionError('dtype', `${what} is ${describeLayout(layout)}: need ${allowed.join(' or ')}`);
}

/** Checks a mask and gives it rank 4, with stride 0 along broadcast axes. */
function checkMask(caller: string, tensor: TensorLayout, shape: readonly number[]): Layout {
  const mask = checkLayout(`${caller}: mask`, tensor, 'input');
  requireDType(`${caller}: mask`, mask, ['bool', 'f32', 'f16']);
  const missing = 4 - mask.shape.length;
  if (missing < 0) throw new AttentionError('shape', `${caller}: mask is ${quote(mask.shape)}: need rank 1 to 4`);
  const padded = [...new Array<number>(missing).fill(1), ...mask.shape];
  const strides = [...new Array<number>(missing).fill(0), ...mask.strides].map((stride, i) => (padded[i] === 1 ? 0 : stride));
  if (padded.some((size, i) => size !== 1 && size !== shape[i])) {
    throw new AttentionError('shape', `${caller}: mask is ${quote(mask.shape)}: does not broadcast to [B,H,N,M] = ${quote(shape)}`);
  }
  return { ...mask, shape: padded, strides };
}

/** The layout [B] of key lengths [B,1], as ONNX has them. Other layouts stay. */
export function withoutLastOne(layout: Layout): Layout {
  const { shape, strides } = layout;
  if (shape.length !== 2 || shape[1] !== 1) return layout;
  return { ...layout, shape: [shape[0]!], strides: [shape[0] === 1 ? 1 : strides[0]!] };
}

/** Checks a tensor of rank 1, or key lengths of [B,1]. `true` stands for a dense tensor. */
function checkVector(caller: string, name: string, tensor: true | TensorLayout, letter: string, length: number, dtype: DType): Layout {
  const dense: TensorLayout = { shape: [length], dtype, strides: rowMajor([length]) };
  const given = checkLayout(`${caller}: ${name}`, tensor === true ? dense : tensor, 'input');
  const layout = letter === 'B' ? withoutLastOne(given) : given;
  if (layout.shape.length !== 1 || layout.shape[0] !== length) {
    const or = letter === 'B' ? ` or [${length},1]` : '';
    throw new AttentionError('shape', `${caller}: ${name} is ${quote(given.shape)}: need [${letter}] = [${length}]${or}`);
  }
  if (length > 1 && layout.strides[0] !== 1)
    throw new AttentionError('shape', `${caller}: ${name} is ${describeLayout(given)}: need elements one behind the other`);
  requireDType(`${caller}: ${name}`, layout, [dtype]);
  return layout;
}

/** Whether q, k, v and out can be read and written four elements at a time. */
export const isVec4 = ({ q, k, v, out, D, Dv }: Problem): boolean => isWholeVec4(D, Dv, [q, k, v, out]);

/** Whether tensors of rows of D or Dv elements can be read and written four elements at a time. */
export function isWholeVec4(D: number, Dv: number, layouts: readonly Layout[]): boolean {
  const isWhole = ({ offset, strides, dtype }: Layout) =>
    offset % (4 * BYTES[dtype]) === 0 && strides.slice(0, -1).every((stride) => stride % 4 === 0);
  return D % 4 === 0 && Dv % 4 === 0 && layouts.every(isWhole);
}
