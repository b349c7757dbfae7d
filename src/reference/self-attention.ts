import { withinMemory } from '../contract/errors.ts';
import {
  normalizeSelfAttention,
  type Rows,
  resultShapes,
  type SelfAttentionOptions,
  type SelfAttentionProblem,
  type SelfAttentionResult,
} from '../contract/self-attention-problem.ts';
import type { HostTensor } from '../contract/tensor.ts';
import { scaledDotProductAttention } from './attention.ts';
import { project } from './project.ts';
import { checkComputed } from './sizes.ts';

/**
 * Self-attention on the CPU, in f64: the synchronous twin of the package's `selfAttention`, with the same options and result.
 * @param inputs [N,in] or [B,N,in]: each row is one word's vector
 * @throws AttentionError 'shape', 'dtype', 'option', as on the GPU
 */
export function selfAttention(inputs: Rows, options: SelfAttentionOptions = {}): SelfAttentionResult {
  return withinMemory('selfAttention', () => compute(normalizeSelfAttention(inputs, options)));
}

function compute(problem: SelfAttentionProblem): SelfAttentionResult {
  const { inputs: x, heads, scale, isCausal, dropout, Dv } = problem;
  const [B, N, width] = x.shape as [number, number, number];
  checkComputed('selfAttention: scores', B, heads, N, N);
  const heading = (weights: HostTensor | undefined): HostTensor => {
    const outWidth = weights?.shape[1] ?? width;
    checkComputed('selfAttention: a projection', B, N, outWidth);
    const rows = weights ? project(x.data, weights.data, undefined, width, outWidth) : x.data;
    return { data: swapMiddle(rows, B, N, heads, outWidth / heads), shape: [B, heads, N, outWidth / heads] };
  };
  const q = heading(problem.queryWeights);
  const k = heading(problem.keyWeights);
  const v = heading(problem.valueWeights);
  const { scores } = scaledDotProductAttention(q, k, v, { scale, returnScores: 'raw' });
  const { out, scores: weights } = scaledDotProductAttention(q, k, v, {
    ...{ scale, isCausal, returnScores: 'weights' as const },
    ...(dropout && { dropout }),
  });
  const contexts = swapMiddle(out.data, B, heads, N, Dv);
  const outputWidth = problem.outputWeights?.shape[1] ?? heads * Dv;
  checkComputed('selfAttention: context', B, N, outputWidth);
  const context = problem.outputWeights
    ? project(contexts, problem.outputWeights.data, problem.outputBias?.data, heads * Dv, outputWidth)
    : contexts;
  const shapes = resultShapes(problem, outputWidth);
  return {
    scores: { data: scores!.data, shape: shapes.scores },
    weights: { data: weights!.data, shape: shapes.scores },
    context: { data: context, shape: shapes.context },
  };
}

/** [B,a,b,c] → [B,b,a,c]. */
export function swapMiddle(x: ArrayLike<number>, B: number, a: number, b: number, c: number): Float64Array {
  const y = new Float64Array(B * a * b * c);
  for (let n = 0; n < B; n++) {
    for (let i = 0; i < a; i++) {
      for (let j = 0; j < b; j++) {
        for (let e = 0; e < c; e++) y[((n * b + j) * a + i) * c + e] = x[((n * a + i) * b + j) * c + e]!;
      }
    }
  }
  return y;
}
