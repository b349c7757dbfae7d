import { test } from 'vitest';
import * as context from 'vitest/browser';

const { cdp } = context as unknown as { cdp(): { send(method: string): Promise<void> } };

test('a tab that crashes', async () => {
  await cdp().send('Page.crash');
  await new Promise(() => {});
}, 10_000);
