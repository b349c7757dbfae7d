import type { Reporter } from 'vitest/node';

/** Prints `N passed, N failed, N skipped` alone on the last line, for CI systems that look for it. */
export const plainSummary: Reporter = {
  onTestRunEnd(modules, errors) {
    const count = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      if (module.state() === 'failed' && tests.length === 0) count.failed++; // the file could not be collected
      for (const test of tests) count[test.result().state]++;
    }
    setImmediate(() => console.log(`${count.passed} passed, ${count.failed + count.pending} failed, ${count.skipped} skipped`));
  },
};
