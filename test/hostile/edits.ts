/** Changes of right arguments: values that nobody means, properties that are missing or too many, forms of objects, getters that change their answer. */
import fc from 'fast-check';
import { PLAUSIBLE, type Surroundings, VALUES } from './values.ts';

const KINDS = ['replace', 'adjust', 'delete', 'add', 'form', 'flip', 'throw'] as const;
const NAMES = ['constructor', '__proto__', 'toString', 'length', 'isCausal', 'weights', 'then', '0', 'shape'];

export interface Edit {
  readonly kind: (typeof KINDS)[number];
  readonly place: number; // of all places in the arguments
  readonly value: number; // of all values
}

export const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.oneof(
    { weight: 3, arbitrary: fc.constant('replace' as const) },
    { weight: 3, arbitrary: fc.constant('adjust' as const) },
    { weight: 3, arbitrary: fc.constantFrom(...KINDS) },
  ),
  place: fc.nat(9999),
  value: fc.nat(9999),
});

type Holder = Record<string, unknown>;
interface Place {
  readonly holder: Holder;
  readonly name: string;
}

function isPlain(value: unknown): value is Holder {
  if (value === null || typeof value !== 'object') return false;
  try {
    const prototype: unknown = Object.getPrototypeOf(value);
    return prototype === Object.prototype || prototype === Array.prototype;
  } catch {
    return false; // what an edit before put there
  }
}

const DEEPEST = 6;

/** Every property of the arguments, as deep as right arguments have some. */
function placesOf(holder: Holder, found: Place[] = [], depth = 0): Place[] {
  if (depth === DEEPEST) return found;
  for (const name of Object.keys(holder)) {
    found.push({ holder, name });
    const { value } = Object.getOwnPropertyDescriptor(holder, name)!;
    if (isPlain(value)) placesOf(value, found, depth + 1);
  }
  return found;
}

const define = (holder: Holder, name: string, descriptor: PropertyDescriptor): void => {
  Reflect.defineProperty(holder, name, { configurable: true, enumerable: true, ...descriptor });
};

class Given {
  constructor(properties: object) {
    Object.assign(this, properties);
  }
  describe() {
    return 'a method is no option';
  }
}

/** The same properties in another form. */
const FORMS: readonly ((value: object) => unknown)[] = [
  (value) => Object.create(value),
  (value) => Object.assign(Object.create(null), value),
  (value) => new Proxy(value, {}),
  (value) => Object.freeze(value),
  (value) => new Given(value),
  (value) => new Map(Object.entries(value)),
  (value) => Object.entries(value),
  (value) => JSON.parse(JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? 'bigint' : each))),
];

const boom = (): never => {
  throw new RangeError('boom');
};

function applyOne({ kind, value }: Edit, { holder, name }: Place, of: Surroundings, isSteady: boolean, isArgument: boolean): void {
  const own: unknown = Reflect.get(holder, name);
  const hostile = () => VALUES[value % VALUES.length]!(of);
  const alike = PLAUSIBLE[typeof own];
  const put = (target: Holder, at: string, made: unknown) => define(target, at, { value: made, writable: true });
  if (kind === 'replace') put(holder, name, hostile());
  else if (kind === 'adjust') put(holder, name, alike ? alike[value % alike.length] : hostile());
  else if (kind === 'delete') Reflect.deleteProperty(holder, name);
  else if (kind === 'add') put(isPlain(own) ? own : holder, NAMES[value % NAMES.length]!, hostile());
  else if (kind === 'form' && isPlain(own)) put(holder, name, FORMS[value % FORMS.length]!(own));
  else if (isArgument)
    return; // no getter: whoever calls would run it
  else if (kind === 'throw') define(holder, name, { get: boom });
  else if (kind === 'flip') {
    let reads = 0;
    define(holder, name, { get: () => (isSteady || reads++ === 0 ? own : hostile()) });
  }
}

/**
 * Changes the arguments in place.
 * @param isSteady whether getters give their first answer for ever, which is what a call has to take
 */
export function apply(args: unknown[], edits: readonly Edit[], of: Surroundings, isSteady: boolean): void {
  for (const each of edits) {
    const places = placesOf(args as unknown as Holder);
    if (places.length === 0) return;
    try {
      const place = places[each.place % places.length]!;
      applyOne(each, place, of, isSteady, place.holder === (args as unknown));
    } catch {} // what an edit before put there cannot be changed so
  }
}
