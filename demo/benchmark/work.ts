/** What is measured: shapes, operations and bytes. */

export interface BenchmarkOptions {
  readonly lengths: readonly number[]; // keys
  readonly queries: number | undefined; // undefined: as many as keys
  readonly heads: number;
  readonly keyHeads: number; // divides heads
  readonly headSize: number;
  readonly isCausal: boolean; // the last query sees every key
  readonly repeats: number;
  readonly tune: boolean; // measure variants on the device first, and take the fastest
}

/** Attention of one length. */
export interface Work {
  readonly length: number; // keys
  readonly queries: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
  readonly isCausal: boolean;
}

export const workOf = (length: number, options: BenchmarkOptions): Work => {
  const { queries = length, heads, keyHeads, headSize, isCausal } = options;
  return { length, queries, heads, keyHeads, headSize, isCausal };
};

const MOST_BYTES = 2 ** 31;

/** @throws Error for what would not fit into memory: the reference holds two N×M matrices of f64 a head */
export function checkOptions(options: BenchmarkOptions): void {
  const { heads, keyHeads } = options;
  if (heads % keyHeads !== 0) throw new Error(`${keyHeads} key heads do not divide ${heads} heads.`);
  const most = Math.max(...options.lengths);
  const bytes = 16 * heads * most * (options.queries ?? most);
  if (bytes > MOST_BYTES)
    throw new Error(
      `${heads} heads at length ${most} need ${(bytes / 2 ** 30).toFixed(1)} GB for the reference’s scores: at most ${MOST_BYTES / 2 ** 30} GB.`,
    );
}

/** Scores that somebody sees: all, or those at or below the diagonal that ends at the last query's last key. */
function seen({ queries, length, isCausal }: Work): number {
  if (!isCausal) return queries * length;
  const row = (n: number) => Math.max(0, Math.min(length, n + 1 + length - queries));
  let total = 0;
  for (let n = 0; n < queries; n++) total += row(n);
  return total;
}

/** Multiplications and additions of q·kᵀ and weights·v, for the scores that somebody sees. */
export const operations = (work: Work): number => 4 * work.heads * seen(work) * work.headSize;

/** Bytes of q, k, v and out in f32, each once: what has to be moved at least. */
export const bytesMoved = ({ length, queries, heads, keyHeads, headSize }: Work): number =>
  4 * headSize * (2 * heads * queries + 2 * keyHeads * length);
