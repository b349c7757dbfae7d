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

/** Numbers in [−scale, scale). */
export function randomArray(seed: number, length: number, scale = 1): Float32Array<ArrayBuffer> {
  const next = random(seed);
  return Float32Array.from({ length }, () => scale * (2 * next() - 1));
}
