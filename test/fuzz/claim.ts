/** Which page checks a problem, as a command for the pages: the one that asks first. */
import type { BrowserCommand } from 'vitest/node';

const claimed = new Set<number>();

/** @returns whether the problem with this number is the caller's */
export const claimProblem: BrowserCommand<[number], boolean> = (_, number) => {
  const isFree = !claimed.has(number);
  claimed.add(number);
  return isFree;
};
