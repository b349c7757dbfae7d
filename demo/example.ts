/** Simplified self-attention on a sentence: on the GPU, and on the CPU for comparison. */
import { type Attention, createAttention, type HostTensor, selfAttention } from '../src/index.ts';
import { selfAttention as onCpu } from '../src/reference/index.ts';
import { queryOf, type Word, wordsOf } from './words.ts';

export interface Example {
  readonly adapter: string;
  readonly words: readonly Word[];
  readonly query: number; // the word that asks
  readonly scores: number[][]; // [N][N]
  readonly weights: number[][]; // [N][N]
  readonly context: number[][]; // [N][3]
  /** The greatest differences from the CPU reference. */
  readonly differences: { readonly scores: number; readonly weights: number; readonly context: number };
}

/** @throws Error when the sentence has no word; AttentionError when the GPU cannot be used */
export async function runExample(sentence: string, attention: Attention): Promise<Example> {
  const words = wordsOf(sentence);
  if (words.length === 0) throw new Error(`The sentence ${JSON.stringify(sentence)} has no word.`);
  const inputs = words.map(({ vector }) => vector);
  const gpu = await selfAttention(inputs, { attention });
  const cpu = onCpu(inputs);
  const difference = (name: 'scores' | 'weights' | 'context') =>
    Math.max(...cpu[name].data.map((value, i) => Math.abs(value - gpu[name].data[i]!)));
  return {
    adapter: describeAdapter(attention.device),
    words,
    query: queryOf(words),
    scores: toRows(gpu.scores),
    weights: toRows(gpu.weights),
    context: toRows(gpu.context),
    differences: { scores: difference('scores'), weights: difference('weights'), context: difference('context') },
  };
}

/** `runExample` on a device of its own, which is freed again. */
export async function runSentence(sentence: string): Promise<Example> {
  const attention = await createAttention();
  try {
    return await runExample(sentence, attention);
  } finally {
    attention.destroy();
  }
}

function describeAdapter({ adapterInfo }: GPUDevice): string {
  const { vendor, architecture, device, description, isFallbackAdapter } = adapterInfo;
  const name = description || [vendor, architecture, device].filter(Boolean).join(' ') || 'an adapter without a name';
  return `${name}${isFallbackAdapter ? ' (software, on the CPU)' : ''}`;
}

function toRows({ data, shape }: HostTensor): number[][] {
  const width = shape.at(-1)!;
  return Array.from({ length: data.length / width }, (_, n) => [...data.slice(n * width, (n + 1) * width)]);
}
