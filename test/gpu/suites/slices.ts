/** The tests of all files, in slices that workers take in turn. */
export interface Slice {
  readonly file: string; // its path below test/, without its ending
  readonly from: number;
  readonly to: number;
}

const LENGTH = 24; // tests
/** Kernels come first, then what is made of them. */
const ORDER = ['kernels/', 'self-attention', 'plan/', 'training/', 'cases/', 'contract/', 'reference/'];

/** By rank, and by name among equals. */
export function inOrder(files: readonly string[]): string[] {
  const rank = (file: string) => {
    const found = ORDER.findIndex((prefix) => file.startsWith(prefix));
    return found < 0 ? ORDER.length : found;
  };
  return [...files].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

/** Slices of a file that has so many tests. */
export const slicesOf = (file: string, tests: number): Slice[] =>
  Array.from({ length: Math.ceil(tests / LENGTH) }, (_, i) => ({ file, from: i * LENGTH, to: Math.min(tests, (i + 1) * LENGTH) }));
