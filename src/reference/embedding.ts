/**
 * The vectors of words, in f64: the twin of `shaders/embedding.wgsl`.
 * @param tokens    [B,N]: indices of rows of the table; a token ≥ vocabulary has a vector of zeros
 * @param table     [vocabulary, width]
 * @param positions [N, width]
 * @returns [B,N,width]: table[tokens[b,n]] + positions[n]
 */
export function embedding(tokens: ArrayLike<number>, table: ArrayLike<number>, positions: ArrayLike<number>, width: number): Float64Array {
  const x = new Float64Array(tokens.length * width);
  for (let i = 0; i < x.length; i++) {
    const at = tokens[Math.floor(i / width)]! * width + (i % width);
    x[i] = (at < table.length ? table[at]! : 0) + positions[i % positions.length]!;
  }
  return x;
}

/**
 * The gradients of `embedding`, in f64: the twin of `shaders/embedding_backward.wgsl`.
 * @param gradient   [B,N,width], the gradient of the result of `embedding`
 * @param vocabulary rows of the table
 * @param length     N
 */
export function embeddingBackward(
  gradient: ArrayLike<number>,
  tokens: ArrayLike<number>,
  vocabulary: number,
  length: number,
): { readonly table: Float64Array; readonly positions: Float64Array } {
  const width = gradient.length / tokens.length;
  const [table, positions] = [new Float64Array(vocabulary * width), new Float64Array(length * width)];
  for (let i = 0; i < gradient.length; i++) {
    const at = tokens[Math.floor(i / width)]! * width + (i % width);
    if (at < table.length) table[at]! += gradient[i]!;
    positions[i % positions.length]! += gradient[i]!;
  }
  return { table, positions };
}
