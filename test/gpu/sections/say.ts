/** How a section tells the conductor what it found: a JSON line a record, so that what came before a failure is kept. */
import type { Fields } from '../records.ts';

export const MARK = '@@';
export const isTiny = process.argv.includes('--tiny');

export const emit = (kind: string, fields: object): void => void process.stdout.write(`${MARK}${JSON.stringify({ kind, ...fields })}\n`);

/** The first lines of an error, or of the plain object that a test runner makes of one, without the stack. */
export function messageOf(error: unknown): string {
  const { message } = Object(error) as { readonly message?: unknown };
  const text = typeof message === 'string' ? message : String(error);
  const [head] = text.split(/\n\s+at /);
  return head!.split('\n').slice(0, 3).join(' ').slice(0, 300);
}

/** Runs a section, and ends the process, which Dawn would keep alive. */
export async function section(body: () => Promise<void>): Promise<void> {
  try {
    await body();
    emit('done', {});
  } catch (error) {
    console.error(error);
    emit('failed', { reason: messageOf(error) });
    process.exit(1);
  }
  process.exit(0);
}

/** Measures one row. What fails becomes a row that says why. A lost device ends the section. */
export async function row<Found extends Fields>(
  device: GPUDevice,
  kind: string,
  label: Fields,
  body: () => Promise<Found>,
): Promise<Partial<Found> & Fields> {
  device.pushErrorScope('validation');
  device.pushErrorScope('out-of-memory');
  let found: Partial<Found> & Fields;
  try {
    found = await body();
  } catch (error) {
    found = { failed: messageOf(error) } as Partial<Found> & Fields;
  }
  const lost = await Promise.race([device.lost, new Promise<undefined>((resolve) => setTimeout(resolve, 0))]);
  if (lost) throw new Error(`the device was lost at ${JSON.stringify(label)}: ${lost.message}`);
  for (let scope = 0; scope < 2; scope++) {
    const error = await device.popErrorScope();
    if (error) found = { ...found, failed: `${found.failed ?? ''} ${messageOf(error)}`.trim() };
  }
  emit(kind, { ...label, ...found });
  return found;
}
