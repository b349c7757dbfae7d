import { createAttention } from './attention.ts';
import type { Attention } from './contract/api.ts';
import { normalize } from './contract/problem.ts';
import { readOptions } from './contract/record.ts';
import {
  KEYS,
  normalizeSelfAttention,
  type Rows,
  resultShapes,
  type SelfAttentionProblem,
  type SelfAttentionResult,
  type SelfAttentionOptions as SharedOptions,
} from './contract/self-attention-problem.ts';
import type { GpuTensor, HostTensor } from './contract/tensor.ts';
import { type Session, sessionOf } from './gpu/session.ts';
import { attend } from './plan/calls.ts';

export interface SelfAttentionOptions extends SharedOptions {
  /** Runs on this Attention instead of the shared one. */
  attention?: Attention;
}

/** The Attention for callers who give none. It is made once, and made again after its device was lost. */
let shared: Promise<Attention> | undefined;

/**
 * Self-attention in one line: every row attends to every row. Rows go in; scores, attention weights and context vectors come out.
 * Without weight matrices it is the simplified self-attention: scores = X·Xᵀ, weights = softmax(scores), context = weights·X.
 * It runs on a device of its own. The first call makes the device, and later calls use it again.
 * @param inputs [N,in] or [B,N,in]: each row is one word's vector
 * @throws AttentionError 'shape', 'dtype' or 'option' for wrong inputs or options, 'no-webgpu', 'limit', 'out-of-memory',
 *   'device-lost', 'compile'
 */
export async function selfAttention(inputs: Rows, options: SelfAttentionOptions = {}): Promise<SelfAttentionResult> {
  const { attention, ...rest } = readOptions('selfAttention', options, [...KEYS, 'attention']);
  const problem = normalizeSelfAttention(inputs, rest);
  const on = attention === undefined ? await sharedAttention() : attention;
  return run(on, sessionOf('selfAttention', on), problem);
}

function sharedAttention(): Promise<Attention> {
  if (shared) return shared;
  const made = createAttention();
  const forget = () => {
    if (shared === made) shared = undefined;
  };
  made.then((attention) => attention.lost.then(forget), forget).catch(forget);
  shared = made;
  return made;
}

async function run(attention: Attention, session: Session, problem: SelfAttentionProblem): Promise<SelfAttentionResult> {
  const { inputs, heads: H, scale, isCausal, dropout, D, Dv } = problem;
  const [B, N] = inputs.shape as [number, number, number];
  const made: GpuTensor[] = [];
  const keep = (tensor: GpuTensor): GpuTensor => {
    made.push(tensor);
    return tensor;
  };
  const upload = ({ data, shape }: HostTensor) => keep(attention.upload(data, shape));
  try {
    const x = upload(inputs);
    const project = async (weights: HostTensor | undefined) => (weights ? keep(await attention.project(x, upload(weights))) : x);
    const q = heads(await project(problem.queryWeights), B, N, H, D);
    const k = heads(await project(problem.keyWeights), B, N, H, D);
    const v = heads(await project(problem.valueWeights), B, N, H, Dv);
    const side = { shape: [B, H, N, Dv], dtype: 'f32' as const, strides: [N * H * Dv, Dv, H * Dv, 1] }; // the heads side by side: [B,N,H,Dv]
    const normalized = normalize('selfAttention', {
      ...{ q, k, v, out: side, scale, isCausal, returnScores: 'raw' as const },
      ...(dropout && { dropout }),
    });
    const { out, scores, weights } = await attend(session, 'selfAttention', { ...normalized, returnWeights: true }, { q, k, v });
    made.push(out, scores!, weights!);
    const contexts: GpuTensor = { buffer: out.buffer, dtype: 'f32', shape: [B, N, H * Dv] };
    const { outputWeights, outputBias } = problem;
    const context = outputWeights
      ? keep(await attention.project(contexts, upload(outputWeights), outputBias && upload(outputBias)))
      : contexts;
    const [scoresData, weightsData, contextData] = await Promise.all(
      [scores!, weights!, context].map(async (tensor) => (await attention.download(tensor)).data),
    );
    const shapes = resultShapes(problem, context.shape[2]!);
    return {
      scores: { data: scoresData!, shape: shapes.scores },
      weights: { data: weightsData!, shape: shapes.scores },
      context: { data: contextData!, shape: shapes.context },
    };
  } finally {
    for (const { buffer } of made) session.pool.recycle(buffer);
  }
}

/** A view [B,H,N,D] of a dense tensor [B,N,H·D]. */
function heads(tensor: GpuTensor, B: number, N: number, H: number, D: number): GpuTensor {
  return { buffer: tensor.buffer, dtype: 'f32', shape: [B, H, N, D], strides: [N * H * D, D, H * D, 1] };
}
