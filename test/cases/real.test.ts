/** Layers of trained models: a small language model (RoPE, causal, grouped heads) and a sentence encoder. */
import { describe, test } from 'vitest';
import type { GpuTensor } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { areAbsent, type CaseTensor, casesOf, expectNear, readCase } from './outside-case.ts';

type Options = { scale: number; isCausal: boolean };

/** q, k and v as [B,H,N,D] views of what the model has, its context in the same order, and its weights. */
async function readLayer(name: string) {
  const { attributes, inputs, outputs } = await readCase(name);
  const isEncoder = inputs.q !== undefined;
  const given = attributes as { is_causal?: number; scale?: number; q_num_heads?: number };
  const view = (tensor: CaseTensor) => {
    if (!isEncoder) return { shape: tensor.shape, data: tensor.data };
    const [B, N, width] = tensor.shape as [number, number, number];
    const [H, D] = [given.q_num_heads!, width / given.q_num_heads!];
    return { shape: [B, H, N, D], strides: [N * width, D, width, 1], data: tensor.data }; // the heads side by side
  };
  const [q, k, v] = [view((inputs.q ?? inputs.Q)!), view((inputs.k ?? inputs.K)!), view((inputs.v ?? inputs.V)!)];
  const run: Options = { scale: given.scale ?? 1 / Math.sqrt(q.shape[3]!), isCausal: Boolean(given.is_causal) };
  return { q, k, v, options: run, out: view((outputs.context ?? outputs.Y)!), weights: outputs.probs!.data };
}

/** A view's elements, dense. */
function dense({ shape, strides, data }: { shape: readonly number[]; strides?: readonly number[]; data: Float32Array }): Float32Array {
  if (!strides) return data;
  const [, H, N, D] = shape as [number, number, number, number];
  return data.map((_, i) => data[(Math.floor(i / (N * D)) % H) * strides[1]! + (Math.floor(i / D) % N) * strides[2]! + (i % D)]!);
}

describe.skipIf(areAbsent)('layers of real models', () => {
  onDevices('the GPU', (attention) => {
    test.each(casesOf('real').filter((name) => name.includes('layer') || areAbsent))('%s', async (name) => {
      const layer = await readLayer(name);
      const on = attention();
      const buffers: GpuTensor[] = [];
      const upload = ({ data, shape, strides }: typeof layer.q) => {
        buffers.push(on.upload(data, [data.length]));
        return { buffer: buffers.at(-1)!.buffer, dtype: 'f32' as const, shape, ...(strides && { strides }) };
      };
      const tensors = [upload(layer.q), upload(layer.k), upload(layer.v)] as const;
      const fused = await on.scaledDotProductAttention(...tensors, layer.options);
      expectNear('fused out', (await on.download(fused.out)).data, dense(layer.out));
      const explicit = await on.scaledDotProductAttention(...tensors, { ...layer.options, returnScores: 'weights' });
      expectNear('explicit out', (await on.download(explicit.out)).data, dense(layer.out));
      expectNear('weights', (await on.download(explicit.scores!)).data, layer.weights);
      on.release(...buffers, fused.out, explicit.out, explicit.scores!);

      const host = (view: typeof layer.q) => ({ shape: view.shape, data: dense(view) });
      const reference = scaledDotProductAttention(host(layer.q), host(layer.k), host(layer.v), {
        ...layer.options,
        returnScores: 'weights',
      });
      expectNear('reference out', reference.out.data, dense(layer.out), 1e-6);
      expectNear('reference weights', reference.scores!.data, layer.weights, 1e-6);
    });
  });
});
