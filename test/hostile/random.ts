/** Random changes of right arguments, for every public function: an AttentionError or the right answer, and nothing else. */
import fc from 'fast-check';
import { AttentionError } from '../../src/index.ts';
import { OPERATIONS } from './calls.ts';
import type { Context, Operation } from './context.ts';
import { apply, type Edit, edit } from './edits.ts';

/** What is done, and the changes of its arguments. */
export interface HostileCase {
  readonly name: string;
  readonly edits: readonly Edit[];
}

export const hostileCase: fc.Arbitrary<HostileCase> = fc.record({
  name: fc.noShrink(fc.constantFrom(...Object.keys(OPERATIONS))),
  edits: fc.array(edit, { minLength: 1, maxLength: 3 }),
});

/** What depends on a device or a machine: the twin may do without. */
const OWN = ['limit', 'unsupported', 'out-of-memory'];
const HANG_MS = 60_000;
const LOWEST = 3.4028234663852886e38; // of scores that are excluded

export type Outcome = 'rejected' | 'right' | 'taken'; // taken: without an answer to compare with

async function attempt(what: string, call: () => unknown): Promise<{ value: unknown } | { refusal: AttentionError }> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hung = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} hung`)), HANG_MS);
  });
  try {
    return { value: await Promise.race([(async () => call())(), hung]) };
  } catch (error) {
    if (error instanceof AttentionError && error.message.length > 0) return { refusal: error };
    throw new Error(`${what}: not an AttentionError`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Runs one case. @throws for anything but an AttentionError or the right answer */
export async function runCase(context: Context, { name, edits }: HostileCase): Promise<Outcome> {
  const operation: Operation = OPERATIONS[name]!;
  const made = (isSteady: boolean): unknown[] => {
    const args = operation.make(context);
    apply(args, edits, context, isSteady);
    return args;
  };
  const outcome = await attempt(name, () => operation.run(context, ...made(false)));
  if ('refusal' in outcome && !operation.isAlike) return 'rejected';
  if (!operation.twin) return 'taken';
  const expected = await attempt(`${name}, its twin`, () => operation.twin!(context, ...made(true)));
  if ('refusal' in outcome) {
    if ('refusal' in expected || OWN.includes(outcome.refusal.code)) return 'rejected';
    throw new Error(`${name}: the reference takes what is refused: ${outcome.refusal.message}`);
  }
  if ('refusal' in expected) {
    if (OWN.includes(expected.refusal.code)) return 'taken';
    throw new Error(`${name}: the reference refuses what is taken: ${expected.refusal.message}`);
  }
  if (expected.value === undefined || !isTame(expected.value)) return 'taken';
  const difference = compare(outcome.value, expected.value);
  if (difference) throw new Error(`${name}: ${difference}`);
  return 'right';
}

const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === 'object';

/** Whether an answer has no numbers that f32 has not, or only a few digits of. */
function isTame(answer: unknown): boolean {
  if (typeof answer === 'number') return Math.abs(answer) < 1e6 || Math.abs(answer) === LOWEST;
  return !isObject(answer) || Object.values(answer).every(isTame);
}

/** Where two answers differ; numbers may by what f32 and f64 do. */
function compare(actual: unknown, expected: unknown, path = 'the answer'): string | undefined {
  if (typeof actual === 'number' && typeof expected === 'number') {
    const isNear = Math.abs(actual - expected) <= 2e-3 * (1 + Math.abs(expected));
    if (isNear || Object.is(actual, expected)) return undefined;
  } else if (isObject(actual) && isObject(expected)) {
    const names = Object.keys(expected);
    if (names.length !== Object.keys(actual).length) return `${path} has ${Object.keys(actual)}, not ${names}`;
    for (const name of names) {
      const difference = compare(actual[name], expected[name], `${path}.${name}`);
      if (difference) return difference;
    }
    return undefined;
  } else if (actual === expected) return undefined;
  return `${path} is ${String(actual)}, not ${String(expected)}`;
}
