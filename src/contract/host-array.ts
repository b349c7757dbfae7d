/**
 * Reads callers' arrays and tells their kind. The kind follows from an array's tag, Symbol.toStringTag, which is the same in every realm (iframe, worker,
 * vm). Constructors differ by realm, so they are not compared.
 */
import { AttentionError, quote } from './errors.ts';
import { pick, reading } from './record.ts';
import { type DType, elementCount } from './tensor.ts';

/** A Float16Array. TypeScript's own type for it needs a `lib` that not every project has. */
export interface HalfArray extends ArrayLike<number> {
  readonly BYTES_PER_ELEMENT: number;
  readonly [Symbol.toStringTag]: 'Float16Array';
}

/** Floating-point numbers. A Uint16Array holds the bits of f16. */
export type FloatArray = Float32Array | Float64Array | HalfArray | Uint16Array;

export type IntegerArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** A list, or rows of lists to any depth; all rows of a depth have the same length. */
export type Nested<T> = readonly T[] | readonly Nested<T>[];

/** Floating-point numbers in any form. */
export type FloatData = FloatArray | Nested<number> | Nested<FloatArray>;

/** What `upload` accepts. */
export type HostData = FloatData | IntegerArray | Nested<IntegerArray> | Nested<boolean> | Nested<bigint>;

/** The element types that data can become, by the tag of a typed array or by `typeof` of an element. The first is the default. */
const TYPES = {
  Float32Array: ['f32', 'f16'],
  Float64Array: ['f32', 'f16'],
  Float16Array: ['f16', 'f32'],
  Uint16Array: ['f16', 'u32'], // as f16 its bits, as u32 whole numbers
  Int8Array: ['bool', 'u32'],
  Uint8Array: ['bool', 'u32'],
  Uint8ClampedArray: ['bool', 'u32'],
  Int16Array: ['u32', 'bool'],
  Int32Array: ['u32', 'bool'],
  Uint32Array: ['u32', 'bool'],
  BigInt64Array: ['u32', 'bool'],
  BigUint64Array: ['u32', 'bool'],
  number: ['f32', 'f16', 'u32', 'bool'],
  boolean: ['bool'],
  bigint: ['u32', 'bool'],
} as const satisfies Record<string, readonly [DType, ...DType[]]>;

type Kind = keyof typeof TYPES;

/** An array after its elements were checked to be of one kind. */
export interface HostArray {
  readonly kind: Kind;
  readonly values: ArrayLike<number | boolean | bigint>; // row-major
  readonly nesting: readonly number[]; // lengths of the nested arrays, the outermost first; one length where the array is flat
}

/** The element types that an array can become, the default first. */
export const typesOf = ({ kind }: HostArray): readonly DType[] => TYPES[kind];

/** Whether a value is an array of any kind, even of one that `readArray` refuses. An object { data, shape } is none. */
export const isArray = (what: string, value: unknown): boolean =>
  reading(what, () => Array.isArray(value) || ArrayBuffer.isView(value) || tagOf(value) !== undefined);

const MOST_NESTED = 2 ** 26; // elements of arrays that are not typed
const DEEPEST = 64;
const typedArrays = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;

/**
 * Reads an array, typed or not, nested or not. Elements of an array that is not typed are read once. `what` names it in error messages: `upload: data`.
 * @throws AttentionError 'dtype' for a value that is no array and for an element of another kind than the first, 'shape' for rows of different lengths
 */
export function readArray(what: string, data: unknown): HostArray {
  const tag = reading(what, () => tagOf(data));
  if (tag !== undefined) {
    const values = elementsOf(what, data as ArrayLike<number>, tag);
    return { kind: tag, values, nesting: [values.length] };
  }
  if (!reading(what, () => Array.isArray(data))) {
    const known = Object.keys(TYPES).filter((name) => name.endsWith('Array'));
    throw new AttentionError('dtype', `${what} is ${quote(data)}: need arrays of numbers, nested or not, or one of ${known.join(', ')}`);
  }
  const found: Found = { nesting: [], rows: [], kind: undefined, isTyped: false };
  collect(what, data, 0, found);
  const { nesting, rows, kind } = found;
  if (rows.length === 1) return { kind: kind!, nesting, values: rows[0]! };
  const values: number[] = [];
  for (const row of rows) for (let i = 0; i < row.length; i++) values.push(row[i]!);
  return { kind: kind!, nesting, values };
}

/** The tag of a typed array; undefined for everything else. A polyfill of Float16Array has the tag, but is no ArrayBuffer view. */
function tagOf(value: unknown): Kind | undefined {
  if (!ArrayBuffer.isView(value)) return Object.prototype.toString.call(value) === '[object Float16Array]' ? 'Float16Array' : undefined;
  const tag: unknown = Reflect.get(typedArrays, Symbol.toStringTag, value);
  return typeof tag === 'string' && Object.hasOwn(TYPES, tag) ? (tag as Kind) : undefined;
}

/** The elements of a typed array, whatever its prototype and its properties say. @throws AttentionError 'shape' where its memory is gone */
function elementsOf(what: string, array: ArrayLike<number>, kind: Kind): ArrayLike<number> {
  if (!ArrayBuffer.isView(array)) {
    const { length } = pick(what, array, ['length']);
    if (!Number.isSafeInteger(length) || (length as number) < 0 || (length as number) > MOST_NESTED)
      throw new AttentionError('shape', `${what}.length is ${quote(length)}: need an integer from 0 to ${MOST_NESTED}`);
    return copyRow(what, array, length as number, 'number');
  }
  try {
    typedArrays.keys.call(array as unknown as Uint8Array); // throws for what has no memory
  } catch (cause) {
    throw new AttentionError('shape', `${what} is ${quote(array)}: its memory is detached, or became too short`, { cause });
  }
  const own = (property: string) => Reflect.get(typedArrays, property, array) as number;
  return new (Reflect.get(globalThis, kind) as new (...place: unknown[]) => ArrayLike<number>)(
    own('buffer'),
    own('byteOffset'),
    own('length'),
  );
}

/** Numbers in any list, be it typed, an array or no more than like one. @throws AttentionError 'dtype', 'shape' */
export function readNumbers(what: string, given: unknown): ArrayLike<number> {
  const tag = reading(what, () => tagOf(given));
  const isRight = given !== null && typeof given === 'object' && (tag ? !tag.startsWith('Big') : !ArrayBuffer.isView(given));
  if (!isRight) throw new AttentionError('dtype', `${what} is ${quote(given)}: need numbers`);
  return elementsOf(what, given as ArrayLike<number>, tag ?? 'number');
}

/** A row that is not typed, each element read once. @param head the first element, where it was read before */
function copyRow(what: string, row: ArrayLike<unknown>, length: number, kind: string, head: readonly unknown[] = []): ArrayLike<number> {
  const copy: number[] = [];
  const wrong = reading(what, () => {
    while (copy.length < length) {
      const value = copy.length < head.length ? head[0] : row[copy.length];
      if (typeof value !== kind) return value;
      copy.push(value as number);
    }
    return undefined;
  });
  if (copy.length < length) throw new AttentionError('dtype', `${what}[${copy.length}] is ${quote(wrong)}: need a ${kind}`);
  return copy;
}

/** What was read of an array. Its first row tells what all are like: how they are nested, and of what kind their elements are. */
interface Found {
  readonly nesting: number[];
  readonly rows: ArrayLike<number>[]; // the innermost ones
  kind: Kind | undefined; // until the first row was read
  isTyped: boolean; // the innermost rows are typed arrays
}

/** Reads the rows of `level`, which lies `depth` deep. */
function collect(what: string, level: unknown, depth: number, found: Found): void {
  const tag = reading(what, () => tagOf(level));
  if (found.kind === undefined) descend(what, level, depth, tag, found);
  else follow(what, level, depth, tag, found, found.kind);
}

/** On the way to the first row; and then what lies beside the way. */
function descend(what: string, level: unknown, depth: number, tag: Kind | undefined, found: Found): void {
  if (tag !== undefined) {
    const row = elementsOf(what, level as number[], tag);
    nest(what, row.length, found);
    Object.assign(found, { kind: tag, isTyped: true });
    found.rows.push(row);
    return;
  }
  const list = level as unknown[];
  const [length, ...head] = reading(what, () => [list.length, ...(list.length > 0 ? [list[0]] : [])]) as [number, unknown];
  nest(what, length, found);
  const isNested = () => Array.isArray(head[0]) || tagOf(head[0]) !== undefined;
  if (depth < DEEPEST && head.length > 0 && reading(what, isNested)) {
    collect(`${what}[0]`, head[0], depth + 1, found);
    collectFrom(1, what, list, length, depth, found);
    return;
  }
  const type = typeof head[0];
  found.kind = type === 'boolean' || type === 'bigint' ? type : 'number';
  found.rows.push(copyRow(what, list, length, found.kind, head));
}

function nest(what: string, length: number, { nesting }: Found): void {
  nesting.push(length);
  const count = elementCount(nesting);
  if (count > MOST_NESTED)
    throw new AttentionError('limit', `${what} begins ${count} elements: need at most ${MOST_NESTED}, or a typed array`);
}

/** What must be like the first. */
function follow(what: string, level: unknown, depth: number, tag: Kind | undefined, found: Found, kind: Kind): void {
  const { nesting, rows, isTyped } = found;
  const isInnermost = depth === nesting.length - 1;
  const length = nesting[depth]!;
  const isRow = () => (isInnermost && isTyped ? tag === kind : Array.isArray(level));
  let row = level as ArrayLike<number>;
  const isRight = reading(what, isRow);
  if (isRight && isInnermost && isTyped) row = elementsOf(what, row, kind);
  if (!isRight || reading(what, () => row.length) !== length) {
    const elements = isTyped ? `elements of a ${kind}` : `${kind}s`;
    throw new AttentionError('shape', `${what} is ${quote(level)}: every row needs ${length} ${isInnermost ? elements : 'rows'}`);
  }
  if (isInnermost) rows.push(isTyped ? row : copyRow(what, row, length, kind));
  else collectFrom(0, what, row, length, depth, found);
}

function collectFrom(first: number, what: string, rows: ArrayLike<unknown>, length: number, depth: number, found: Found): void {
  for (let i = first; i < length; i++) {
    const next = reading(what, () => rows[i]);
    collect(`${what}[${i}]`, next, depth + 1, found);
  }
}
