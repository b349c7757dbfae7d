/** What is measured: shapes, operations and bytes. */

export const PASSES = ['forward', 'backward', 'both'] as const;
/** `backward`: the gradients of q, k and v from out and the log-sum-exp; `both`: out and then these. */
export type Pass = (typeof PASSES)[number];

export interface BenchmarkOptions {
  readonly passes: readonly Pass[];
  readonly lengths: readonly number[]; // keys
  readonly queries: number | undefined; // undefined: as many as keys
  readonly heads: number;
  readonly keyHeads: number; // divides heads
  readonly headSize: number;
  readonly isCausal: boolean; // the last query sees every key
  readonly repeats: number;
  readonly tune: boolean; // measure variants on the device first, and take the fastest
}

/** Attention of one length, or its gradients. */
export interface Work {
  readonly pass: Pass;
  readonly length: number; // keys
  readonly queries: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
  readonly isCausal: boolean;
}

export const workOf = (length: number, pass: Pass, options: BenchmarkOptions): Work => {
  const { queries = length, heads, keyHeads, headSize, isCausal } = options;
  return { pass, length, queries, heads, keyHeads, headSize, isCausal };
};

const MOST_BYTES = 2 ** 31;

/** N×M matrices of f64 a head that the reference holds. */
const MATRICES = { forward: 2, backward: 5, both: 5 };

/** @throws Error for what would not fit into memory, or not together */
export function checkOptions(options: BenchmarkOptions): void {
  const { heads, keyHeads, passes } = options;
  if (heads % keyHeads !== 0) throw new Error(`${keyHeads} key heads do not divide ${heads} heads.`);
  if (options.tune && !passes.includes('forward'))
    throw new Error(`tune measures the forward pass, and the passes are ${passes.join(', ')}.`);
  const most = Math.max(...options.lengths);
  const matrices = Math.max(...passes.map((pass) => MATRICES[pass]));
  const bytes = 8 * matrices * heads * most * (options.queries ?? most);
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

/** Forward q·kᵀ and weights·v; backward q·kᵀ once more, dO·vᵀ, and the products that dq, dk and dv are. */
const PRODUCTS = { forward: 2, backward: 5, both: 7 };

/** Multiplications and additions of the matrix products, for the scores that somebody sees. */
export const operations = (work: Work): number => 2 * PRODUCTS[work.pass] * work.heads * seen(work) * work.headSize;

/** Tensors as large as q, and as many as large as k: forward q, k, v and out; backward these, dO, dq, dk and dv. */
const TENSORS = { forward: [2, 2], backward: [4, 4], both: [6, 6] } as const;

/** Bytes of the inputs and outputs in f32, each once a pass: what has to be moved at least. */
export function bytesMoved({ pass, length, queries, heads, keyHeads, headSize }: Work): number {
  const [likeQuery, likeKey] = TENSORS[pass];
  return 4 * headSize * (likeQuery * heads * queries + likeKey * keyHeads * length);
}
