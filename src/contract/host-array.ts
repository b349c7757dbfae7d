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
  const first = firstElements(what, data as unknown[]);
  const { kind, nesting } = first;
  const count = nesting.length > DEEPEST ? Number.POSITIVE_INFINITY : elementCount(nesting);
  if (count > MOST_NESTED)
    throw new AttentionError('limit', `${what} is ${quote(data)}: ${count} elements, need at most ${MOST_NESTED}, or a typed array`);
  const rows: ArrayLike<number>[] = [];
  collect(what, data, 0, first, rows);
  if (rows.length === 1) return { kind, nesting, values: rows[0]! };
  const values: number[] = [];
  for (const row of rows) for (let i = 0; i < row.length; i++) values.push(row[i]!);
  return { kind, nesting, values };
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

/** A row that is not typed, each element read once. */
function copyRow(what: string, row: ArrayLike<unknown>, length: number, kind: string): ArrayLike<number> {
  const copy: number[] = [];
  const wrong = reading(what, () => {
    while (copy.length < length) {
      const value = row[copy.length];
      if (typeof value !== kind) return value;
      copy.push(value as number);
    }
    return undefined;
  });
  if (copy.length < length) throw new AttentionError('dtype', `${what}[${copy.length}] is ${quote(wrong)}: need a ${kind}`);
  return copy;
}

/** How the first rows are nested and of what kind their elements are. All other rows must be like them. */
interface First {
  readonly kind: Kind;
  readonly nesting: readonly number[];
  readonly isTyped: boolean; // the innermost rows are typed arrays
}

function firstElements(what: string, data: readonly unknown[]): First {
  const nesting: number[] = [];
  let level: unknown = data;
  const tag = reading(what, () => {
    for (; Array.isArray(level) && nesting.length <= DEEPEST; level = level[0]) nesting.push(level.length);
    return tagOf(level);
  });
  if (tag !== undefined)
    return { kind: tag, nesting: [...nesting, elementsOf(what, level as ArrayLike<number>, tag).length], isTyped: true };
  const kind = typeof level;
  return { kind: kind === 'boolean' || kind === 'bigint' ? kind : 'number', nesting, isTyped: false };
}

/** Appends the innermost rows of `level`, an array at this depth, to `rows`. Checks that each row has the length and the kind of the first. */
function collect(what: string, level: unknown, depth: number, first: First, rows: ArrayLike<number>[]): void {
  const { kind, nesting, isTyped } = first;
  const isInnermost = depth === nesting.length - 1;
  const isRow = () => (isInnermost && isTyped ? tagOf(level) === kind : Array.isArray(level));
  if (!reading(what, () => isRow() && (level as unknown[]).length === nesting[depth])) {
    const elements = isTyped ? `elements of a ${kind}` : `${kind}s`;
    const need = `${nesting[depth]} ${isInnermost ? elements : 'rows'}`;
    throw new AttentionError('shape', `${what} is ${quote(level)}: every row needs ${need}`);
  }
  const row = level as readonly number[];
  const length = nesting[depth]!;
  if (isInnermost) {
    rows.push(isTyped ? elementsOf(what, row, kind) : copyRow(what, row, length, kind));
    return;
  }
  for (let i = 0; i < length; i++) {
    const next = reading(what, () => row[i]);
    collect(`${what}[${i}]`, next, depth + 1, first, rows);
  }
}
