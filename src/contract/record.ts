/** What a caller's object says is read here, once: what a check has seen is what is used. */
import { AttentionError, quote } from './errors.ts';

const MOST_PROTOTYPES = 100;
const MOST_ELEMENTS = 64; // of a shape, and of what else is a short list

/** What `body` reads of a caller's object, whose getters and traps may throw. */
export function reading<T>(what: string, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    throw new AttentionError('option', `${what} cannot be read: ${quote(cause)}`, { cause });
  }
}

/** `names` of an object, each read once, in this order. */
export function pick<Name extends string>(what: string, value: object, names: Iterable<Name>): Record<Name, unknown> {
  const read = [...names].map((name) => [name, reading(`${what}.${name}`, () => Reflect.get(value, name))]);
  return Object.fromEntries(read) as Record<Name, unknown>;
}

/** The Object.prototype of any realm. */
const isRoot = (value: object): boolean => Object.getPrototypeOf(value) === null && Object.hasOwn(value, 'isPrototypeOf');

/** What the engine makes with a constructor of its own, such as a Date, holds its content elsewhere than in properties. */
function isMadeByEngine(prototype: object): boolean {
  const maker: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
  return typeof maker === 'function' && /\[native code\]\s*\}$/.test(Function.prototype.toString.call(maker));
}

/**
 * The names of an object's properties, its own and inherited ones. Those that are `told` must be known: own enumerable ones, inherited enumerable ones that
 * are no methods, and accessors of classes.
 * @returns undefined for what is no record: a Map, a Promise, a GPUDevice, an array, a Date
 */
function namesOf(value: unknown): { readonly all: Set<string>; readonly told: Set<string> } | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || ArrayBuffer.isView(value)) return undefined;
  if (!/^\[object (Object|Module)\]$/.test(Object.prototype.toString.call(value))) return undefined;
  const told = new Set(Object.keys(value));
  const all = new Set(Object.getOwnPropertyNames(value));
  let prototype: object | null = isRoot(value) ? null : Object.getPrototypeOf(value);
  for (let count = 0; prototype !== null && !isRoot(prototype); prototype = Object.getPrototypeOf(prototype)) {
    if (isMadeByEngine(prototype) || ++count > MOST_PROTOTYPES) return undefined;
    for (const name of Object.getOwnPropertyNames(prototype)) {
      const { get, enumerable, value: own } = Object.getOwnPropertyDescriptor(prototype, name)!;
      all.add(name);
      if (get || (enumerable && typeof own !== 'function')) told.add(name);
    }
  }
  return { all, told };
}

/**
 * Options as a plain record, each read once, in the order of `known`. An option may be inherited, or an accessor of a class. One that is absent is undefined.
 * @param known absent: any name
 * @param name of the option whose value these are
 * @throws AttentionError 'option' for what is no object of options, an unknown name, or a getter that throws
 */
export function readOptions<T>(caller: string, value: T, known?: readonly string[], name?: string, noun = 'option'): T {
  const what = `${caller}: ${name ?? `${noun}s`}`;
  const names = reading(what, () => namesOf(value));
  if (!names) {
    const quoted = quote(value);
    const need = quoted === 'GPUDevice' && known?.includes('device') ? '{ device }' : 'an object';
    throw new AttentionError('option', `${what} ${name ? 'is' : 'are'} ${quoted}: need ${need}`);
  }
  const asked = known ?? [...names.told];
  const unknown = [...names.told].find((told) => !asked.includes(told));
  if (unknown !== undefined) {
    const where = name ? what : caller;
    throw new AttentionError('option', `${where}: unknown ${noun} ${quote(unknown)}: known are ${asked.join(', ')}`);
  }
  const absent = Object.fromEntries(asked.map((each) => [each, undefined]));
  const there = asked.filter((each) => names.all.has(each));
  return { ...absent, ...pick(what, value as object, there) } as T;
}

/** A copy of a short array, which has no holes; anything else as it is, for a check to refuse. @throws AttentionError 'option', 'shape' */
export function copyList<T>(what: string, value: T, most = MOST_ELEMENTS): T {
  const length = reading(what, () => (Array.isArray(value) ? value.length : -1));
  if (length < 0) return value;
  if (length > most) throw new AttentionError('shape', `${what} has ${length} elements: need at most ${most}`);
  return reading(what, () => Array.from({ length }, (_, i) => (value as unknown[])[i])) as T;
}
