/** Seeded random numbers: the same on every machine. */

/** Uniform in [0, 1). The generator is mulberry32, by T. Ettinger. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Random numbers from the normal distribution with mean 0. Source: G. Box, M. Muller, A note on the generation of random normal deviates, 1958. */
export function normals(next: () => number, count: number, deviation: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - next())); // 1 − next() is never 0
    return deviation * radius * Math.cos(2 * Math.PI * next());
  });
}
