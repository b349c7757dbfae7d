/** Values that are hard on who looks at them: for tests of what calls refuse. */

export const cyclic = (): unknown[] => {
  const list: unknown[] = [1];
  list.push(list);
  return list;
};

/** Arrays in arrays without an end. */
export const bottomless = (): unknown[] => {
  const list: unknown[] = [];
  list[0] = list;
  return list;
};

export function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

export function revokedArray(): unknown[] {
  const { proxy, revoke } = Proxy.revocable([1, 2], {});
  revoke();
  return proxy;
}

const boom = (): never => {
  throw new TypeError('boom');
};
/** An object whose every trap throws. */
export const hostileProxy = (): object =>
  new Proxy({}, { get: boom, has: boom, ownKeys: boom, getPrototypeOf: boom, getOwnPropertyDescriptor: boom });
export const throwingGetters = (...names: string[]): object =>
  Object.defineProperties({}, Object.fromEntries(names.map((name) => [name, { get: boom, enumerable: true }])));

export const withThrowingElement = (): number[] => Object.defineProperty([1, 2], 1, { get: boom });

export function withHole<T>(list: readonly T[], at: number): T[] {
  const copy = [...list];
  delete copy[at];
  return copy;
}

/** Its prototypes never end. */
export const endless = (): object => {
  const own: object = new Proxy({}, { getPrototypeOf: () => own });
  return own;
};

export const withoutPrototype = <T extends object>(value: T): T => Object.setPrototypeOf(value, null);

export function detached(): Float32Array<ArrayBuffer> {
  const array = Float32Array.of(1, 2, 3, 4);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** An array whose memory became too short for it. */
export function outOfBounds(): Float32Array<ArrayBuffer> {
  const Resizable = ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => ArrayBuffer;
  const memory = new Resizable(16, { maxByteLength: 16 });
  const array = new Float32Array(memory, 0, 4);
  (memory as unknown as { resize(bytes: number): void }).resize(8);
  return array;
}

/** What claims to be a Float16Array. */
export const standIn = (length: unknown, ...elements: unknown[]): object => ({ ...elements, length, [Symbol.toStringTag]: 'Float16Array' });

/** A proxy that hands out what it is asked for from the object itself, as some stores do. */
export const handingOut = <T extends object>(value: T): T =>
  new Proxy(value, {
    get: (target, name) => {
      const own: unknown = Reflect.get(target, name, target);
      return typeof own === 'function' ? own.bind(target) : own;
    },
  });
