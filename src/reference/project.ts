/**
 * A linear projection, y = x · w + bias, in f64: the twin of `shaders/project.wgsl`.
 * @param x      rows of `width` numbers
 * @param w      [width, outWidth]
 * @param bias   [outWidth], or absent
 * @returns as many rows of `outWidth` numbers
 */
export function project(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  bias: ArrayLike<number> | undefined,
  width: number,
  outWidth: number,
): Float64Array {
  const rows = x.length / width;
  const y = new Float64Array(rows * outWidth);
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outWidth; o++) {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += x[row * width + i]! * w[i * outWidth + o]!;
      y[row * outWidth + o] = sum + (bias ? bias[o]! : 0);
    }
  }
  return y;
}

/**
 * The gradients of a linear projection, in f64. For x it is gradient · wᵀ, for w xᵀ · gradient, for the bias the sum of gradient's rows.
 * @param gradient rows of `outWidth` numbers
 * @param x        as many rows of `width` numbers
 * @param w        [width, outWidth]
 */
export function projectBackward(
  gradient: ArrayLike<number>,
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  width: number,
  outWidth: number,
): { readonly x: Float64Array; readonly weights: Float64Array; readonly bias: Float64Array } {
  const rows = x.length / width;
  const [dx, dw, bias] = [new Float64Array(rows * width), new Float64Array(width * outWidth), new Float64Array(outWidth)];
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outWidth; o++) {
      const value = gradient[row * outWidth + o]!;
      bias[o]! += value;
      for (let i = 0; i < width; i++) {
        dx[row * width + i]! += value * w[i * outWidth + o]!;
        dw[i * outWidth + o]! += value * x[row * width + i]!;
      }
    }
  }
  return { x: dx, weights: dw, bias };
}
