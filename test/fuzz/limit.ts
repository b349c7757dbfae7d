/** Milliseconds that a run may take: a hang ends it, a slow machine does not. */
export const limitOf = (cases: number): number => Math.max(30 * 60_000, cases * 1200);
