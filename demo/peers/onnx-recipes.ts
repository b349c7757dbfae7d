/** Attention as ONNX models: of single steps, or of one operator. */
import type { OnnxGraph } from './onnx-model.ts';
import { causalBias, repeatHeads, repeatNote, swapAxes } from './player.ts';
import type { Inputs, NamedWork } from './works.ts';

export interface Feed {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

/** A model and what goes in; its answer is [1,H,N,D], or [1,N,H·D]. */
interface Recipe {
  readonly graph: Omit<OnnxGraph, 'inputs'>;
  readonly feeds: Readonly<Record<string, Feed>>;
  readonly how: string;
  readonly areHeadsInner?: true;
}

export function recipeOf(variant: string, work: NamedWork, inputs: Inputs): Recipe {
  if (variant === 'steps') return steps(work, inputs);
  if (variant === 'wasm') return standard(work, inputs);
  return work.heads === work.keyHeads ? multiHead(work, inputs) : grouped(work, inputs);
}

function steps(work: NamedWork, { q, k, v }: Inputs): Recipe {
  const { length, queries, heads, headSize, isCausal } = work;
  const keys = [1, heads, length, headSize];
  const shape = [1, heads, queries, headSize];
  const scale = { name: 'scale', shape: [1], data: Float32Array.of(1 / Math.sqrt(headSize)) };
  return {
    graph: {
      constants: [scale],
      nodes: [
        { operator: 'Transpose', inputs: ['k'], output: 'columns', attributes: { perm: [0, 1, 3, 2] } },
        { operator: 'Mul', inputs: ['q', 'scale'], output: 'scaled' }, // scaling q is less work than scaling scores
        { operator: 'MatMul', inputs: ['scaled', 'columns'], output: 'scores' },
        ...(isCausal ? [{ operator: 'Add', inputs: ['scores', 'bias'], output: 'biased' }] : []),
        { operator: 'Softmax', inputs: [isCausal ? 'biased' : 'scores'], output: 'weights', attributes: { axis: 3 } },
        { operator: 'MatMul', inputs: ['weights', 'v'], output: 'out' },
      ],
      output: { name: 'out', shape },
    },
    feeds: {
      q: { data: q, shape },
      k: { data: repeatHeads(k, work), shape: keys },
      v: { data: repeatHeads(v, work), shape: keys },
      ...(isCausal && { bias: { data: causalBias(work), shape: [queries, length] } }),
    },
    how: `Transpose, Mul, MatMul, ${isCausal ? 'Add, ' : ''}Softmax, MatMul${repeatNote(work)}`,
  };
}

/** com.microsoft's operator, with q as [1,N,H·D] and k and v as [1,H,M,D]: with k and v as [1,M,H·D] it would transpose them first. */
function multiHead({ length, queries, heads, headSize, isCausal }: NamedWork, { q, k, v }: Inputs): Recipe {
  const shape = [1, queries, heads * headSize];
  const keys = [1, heads, length, headSize];
  const attributes = { num_heads: heads, unidirectional: Number(isCausal) };
  return {
    graph: {
      constants: [],
      nodes: [{ operator: 'MultiHeadAttention', domain: 'com.microsoft', inputs: ['q', 'k', 'v'], output: 'out', attributes }],
      output: { name: 'out', shape },
    },
    feeds: { q: { data: swapAxes(q, heads, queries), shape }, k: { data: k, shape: keys }, v: { data: v, shape: keys } },
    how: `MultiHeadAttention${isCausal ? ', unidirectional' : ''}`,
    areHeadsInner: true,
  };
}

/** com.microsoft's operator for decoding: the last key is the new one, the others are the cache, of which each call makes a longer copy. */
function grouped({ length, queries, heads, keyHeads, headSize }: NamedWork, { q, k, v }: Inputs): Recipe {
  const past = length - queries;
  const part = (data: Float32Array, from: number, to: number) => {
    const rows = new Float32Array(keyHeads * (to - from) * headSize);
    for (let h = 0; h < keyHeads; h++)
      rows.set(data.subarray((h * length + from) * headSize, (h * length + to) * headSize), h * (to - from) * headSize);
    return rows;
  };
  const added = (data: Float32Array) => ({
    data: swapAxes(part(data, past, length), keyHeads, queries),
    shape: [1, queries, keyHeads * headSize],
  });
  const cache = (data: Float32Array) => ({ data: part(data, 0, past), shape: [1, keyHeads, past, headSize] });
  const shape = [1, queries, heads * headSize];
  return {
    graph: {
      constants: [
        { name: 'last', shape: [1], data: Int32Array.of(length - 1) },
        { name: 'total', shape: [], data: Int32Array.of(length) },
      ],
      nodes: [
        {
          ...{ operator: 'GroupQueryAttention', domain: 'com.microsoft', output: 'out' },
          inputs: ['q', 'k', 'v', 'pastK', 'pastV', 'last', 'total'],
          attributes: { num_heads: heads, kv_num_heads: keyHeads },
        },
      ],
      output: { name: 'out', shape },
    },
    feeds: { q: { data: swapAxes(q, heads, queries), shape }, k: added(k), v: added(v), pastK: cache(k), pastV: cache(v) },
    how: 'GroupQueryAttention',
    areHeadsInner: true,
  };
}

/** ONNX's own operator. WebGPU has no kernel for it: there it would run on the CPU without a word. */
function standard({ length, queries, heads, keyHeads, headSize, isCausal }: NamedWork, { q, k, v }: Inputs): Recipe {
  const shape = [1, heads, queries, headSize];
  const keys = [1, keyHeads, length, headSize];
  return {
    graph: {
      constants: [],
      nodes: [{ operator: 'Attention', inputs: ['q', 'k', 'v'], output: 'out', attributes: { is_causal: Number(isCausal) } }],
      output: { name: 'out', shape },
    },
    feeds: { q: { data: q, shape }, k: { data: k, shape: keys }, v: { data: v, shape: keys } },
    how: `Attention${isCausal ? ', is_causal' : ''}`,
  };
}
