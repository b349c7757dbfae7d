import { test } from 'vitest';

await new Promise(() => {}); // while the file is collected: no timeout of the test runner covers this
test('never reached', () => {});
