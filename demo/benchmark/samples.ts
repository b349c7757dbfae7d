/** A sample lasts about this long at least, in milliseconds: short calls are timed several at a time. */
const SAMPLE = 20;

/** Calls that make a sample long enough for the browser's clock, which may tick as coarsely as once a millisecond. */
export const callsOf = (milliseconds: number): number => Math.ceil(SAMPLE / Math.max(milliseconds, 0.1));
