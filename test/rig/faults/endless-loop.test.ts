import { test } from 'vitest';

test('an endless loop', () => {
  for (;;) {
    // no timeout of the test runner covers this
  }
}, 2000);
