/**
 * A linear projection, y = x · w + bias, in f64: the twin of `shaders/project.wgsl`.
 * @param x      rows of `width` numbers
 * @param w      [width, outWidth]
 * @param bias   [outWidth], or absent
 * @returns as many rows of `outWidth`
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
