/** The sections: what each runs, and how long it may take. */
import type { Options, SectionName } from './options.ts';

interface Plan {
  readonly script: readonly [string, ...string[]]; // in the folder program, with arguments
  readonly limit: number; // seconds
  readonly least: number; // seconds that sections before it leave to it
}

export const PLANS: Readonly<Record<SectionName, Plan>> = {
  conform: { script: ['conform.mjs'], limit: 80, least: 30 },
  prefill: { script: ['bench.mjs', 'prefill'], limit: 75, least: 30 },
  decode: { script: ['bench.mjs', 'decode'], limit: 40, least: 15 },
  gradients: { script: ['bench.mjs', 'gradients'], limit: 50, least: 20 },
  jax: { script: ['jax.mjs'], limit: 45, least: 20 },
  torch: { script: ['torch_rows.py'], limit: 60, least: 25 },
  unsafe: { script: ['unsafe.mjs'], limit: 20, least: 8 },
  tune: { script: ['tune.mjs'], limit: 100, least: 30 },
  suites: { script: ['suites.mjs'], limit: 300, least: 95 },
};

/** A section with less time than this is not begun. */
const USEFUL = 5;
const RESERVE = 3; // seconds, for what comes after the last section

/**
 * Seconds that a section gets: its own limit, but no more than leaves to each later one the least that it needs.
 * @param left seconds until the end of the run
 * @returns undefined where too few are left
 */
export function secondsFor(name: SectionName, { only, stretch }: Options, left: number): number | undefined {
  const { limit, least } = PLANS[name];
  const later = only.slice(only.indexOf(name) + 1).reduce((sum, other) => sum + PLANS[other].least, 0);
  const seconds = Math.min(limit * stretch, Math.max(left - later, Math.min(least, left - RESERVE)));
  return seconds < USEFUL ? undefined : seconds;
}
