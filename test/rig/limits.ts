/**
 * How long a test, or anything in it, may take before it counts as hung, in milliseconds: fifteen times what the slowest takes on two idle cores.
 * It guards against hangs alone. No test is about times, so nothing else in a test gives up by itself.
 */
export const HANG_MS = 300_000;
