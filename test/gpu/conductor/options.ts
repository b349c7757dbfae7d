/** The options of a run. */
import { parseArgs } from 'node:util';

/** In this order: what must not be missed comes first. */
export const SECTION_NAMES = ['conform', 'prefill', 'decode', 'gradients', 'jax', 'torch', 'unsafe', 'tune', 'suites'] as const;
export type SectionName = (typeof SECTION_NAMES)[number];

export interface Options {
  readonly minutes: number; // all in all
  readonly only: readonly SectionName[];
  readonly isTiny: boolean; // small shapes, few of them
  readonly allowsSoftware: boolean;
  readonly workers?: number; // of the suites
  readonly stretch: number; // times each section's limit
}

export const USAGE = `options:
  --minutes 7.5      how long it may take, all in all
  --only ${SECTION_NAMES.slice(0, 2).join(',')}   some sections: ${SECTION_NAMES.join(', ')}
  --tiny             small shapes, few of them: to try the pack itself
  --software         also on a device that runs on the CPU
  --stretch 10       times each section's own limit: for slow devices
  --workers 4        processes that run the tests`;

/** @throws Error that says what is wrong, with the usage */
export function readOptions(args: readonly string[]): Options {
  const string = { type: 'string' } as const;
  const boolean = { type: 'boolean', default: false } as const;
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { minutes: string, only: string, tiny: boolean, software: boolean, stretch: string, workers: string },
    });
    return {
      minutes: numberOf('minutes', values.minutes ?? '7.5', 0.5, 600),
      only: namesOf(values.only),
      isTiny: values.tiny,
      allowsSoftware: values.software,
      stretch: numberOf('stretch', values.stretch ?? '1', 1, 100),
      ...(values.workers !== undefined && { workers: Math.floor(numberOf('workers', values.workers, 1, 64)) }),
    };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${USAGE}`);
  }
}

function numberOf(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= least && value <= most) return value;
  throw new Error(`--${name} is ${JSON.stringify(text)}: need a number from ${least} to ${most}`);
}

function namesOf(text: string | undefined): readonly SectionName[] {
  if (text === undefined) return SECTION_NAMES;
  const names = text.split(',');
  const unknown = names.find((name) => !SECTION_NAMES.some((known) => known === name));
  if (unknown !== undefined) throw new Error(`--only has ${JSON.stringify(unknown)}: known are ${SECTION_NAMES.join(', ')}`);
  return SECTION_NAMES.filter((name) => names.includes(name));
}
