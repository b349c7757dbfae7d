/** What random cases put in place of a right argument. Each is made anew: some are used up by a look. */
import { type Attention, createAttention } from '../../src/index.ts';
import {
  bottomless,
  cyclic,
  detached,
  endless,
  handingOut,
  hostileProxy,
  outOfBounds,
  revoked,
  revokedArray,
  standIn,
  throwingGetters,
  withHole,
  withoutPrototype,
} from '../contract/hostile-values.ts';

/** What values are made of: objects of an Attention, and of another on the same device. */
export interface Surroundings {
  readonly on: Attention;
  readonly other: Attention;
}

export async function makeSurroundings(on: Attention): Promise<Surroundings> {
  return { on, other: await createAttention({ device: on.device }) };
}

/** A tensor that fills its buffer: what lies in others behind their end is anything. */
const filled = (on: Attention) => on.upload(new Float32Array(64).fill(0.5), [64]);

type Make = (of: Surroundings) => unknown;
const plain = [
  ...[undefined, null, true, false, 0, -0, 1, -1, 0.5, 3, 255, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ...[2 ** 31, 2 ** 32, 2 ** 53, 1e308, 5e-324, '', '1', 'f32', 'constructor', '__proto__', 'lower-right', 5n, -1n, 2n ** 64n],
];

export const VALUES: readonly Make[] = [
  ...plain.map((value) => () => value),
  ...[Symbol, Symbol.iterator, Object, Array, Float32Array, Map, Object.prototype, Array.prototype, globalThis].map((value) => () => value),
  ...[() => Symbol('s'), () => () => 1, () => class {}, () => [], () => [[]], () => [1, 2], () => ({}), () => Object.create(null)],
  ...[() => withHole([1, 2, 3], 1), () => new Array(2 ** 32 - 1), cyclic, bottomless, revoked, revokedArray, hostileProxy, endless],
  ...[() => ({ constructor: null }), () => JSON.parse('{"__proto__": {"isCausal": true}}'), () => ({ length: 2 ** 32 })],
  ...[() => new Map([['scale', 1]]), () => new Set(), () => Promise.resolve({}), () => new Date(), () => new Error('e'), () => /x/],
  ...[() => Object(1), () => Object('1'), () => Object(true), () => document.createElement('p'), () => new Proxy(new Date(), {})],
  ...[() => Float32Array.of(1, 2, 3), () => new Float32Array(), () => BigInt64Array.of(1n), () => Uint8Array.of(1, 0), detached],
  ...[outOfBounds, () => withoutPrototype(Float32Array.of(1)), () => new DataView(new ArrayBuffer(8)), () => new ArrayBuffer(8)],
  ...[() => standIn(2, 1, 2), () => standIn(2 ** 32, 1), () => standIn('2', 1), () => throwingGetters('shape', 'data', 'dtype')],
  ({ on }) => on,
  ({ on }) => on.device,
  ({ on }) => new Proxy(on.device, {}),
  ({ on }) => handingOut(on.device),
  ({ on }) => on.device.queue,
  ({ on }) => on.device.createCommandEncoder(),
  ({ on }) => new Proxy(filled(on).buffer, {}),
  ({ on }) => filled(on),
  ({ on }) => filled(on).buffer,
  ({ other }) => filled(other),
  ({ other }) => filled(other).buffer,
  ({ on }) => {
    const released = on.empty([4]);
    on.release(released);
    return released;
  },
];

/** Right in many places: what a number, a truth value or a text is replaced by, so that some cases are taken. */
export const PLAUSIBLE: Readonly<Record<string, readonly unknown[]>> = {
  number: [0, 1, 2, 3, 4, 0.25, -1, 8],
  boolean: [true, false],
  string: ['f32', 'u32', 'f16', 'bool', 'raw', 'masked', 'weights', 'softcapped', 'explicit', 'fused', 'auto', 'lower-right'],
};
