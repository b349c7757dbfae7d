import type { Dropout } from '../contract/options.ts';

/** The low and the high half of a product of two u32. */
function multiply(a: number, b: number): [low: number, high: number] {
  const product = BigInt(a) * BigInt(b);
  return [Number(product & 0xffffffffn), Number(product >> 32n)];
}

/** Philox4x32-10: four random u32 for a counter of four u32 and a key of two. Source: J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [a, b, c, d] = counter;
  let [k, l] = key;
  for (let round = 0; round < 10; round++) {
    const [lowA, highA] = multiply(0xd2511f53, a);
    const [lowC, highC] = multiply(0xcd9e8d57, c);
    [a, b, c, d] = [(highC ^ b ^ k) >>> 0, lowC, (highA ^ d ^ l) >>> 0, lowA];
    k = (k + 0x9e3779b9) >>> 0;
    l = (l + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}

/** Which weights dropout keeps: 1 or 0 for each element of [heads,N,M], where heads is B·H. */
export function dropoutKeep({ probability, seed }: Dropout, heads: number, N: number, M: number): Uint8Array {
  const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)] as const;
  const below = Math.floor(probability * 2 ** 32);
  const keep = new Uint8Array(heads * N * M);
  for (let head = 0; head < heads; head++) {
    for (let n = 0; n < N; n++) {
      for (let m = 0; m < M; m += 4) {
        const words = philox([m / 4, n, head, 0], key);
        for (let j = 0; j < 4 && m + j < M; j++) keep[(head * N + n) * M + m + j] = Number(words[j]! >= below);
      }
    }
  }
  return keep;
}
