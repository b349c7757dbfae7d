/** selfAttention against the book's worked example: every printed number, within half of its last digit. */
import { expect, test } from 'vitest';
import { type Rows, type SelfAttentionResult, selfAttention } from '../src/index.ts';
import * as reference from '../src/reference/index.ts';
import book from './book.json';
import { onDevices } from './rig/gpu.ts';
import { randomArray } from './rig/random.ts';
import { expectNear, LOWEST } from './rig/tolerance.ts';

const { printed, weights, inputs } = book;
const PRINTED = 5.1e-5; // four decimals

function expectPrinted(actual: ArrayLike<number>, expected: readonly unknown[]): void {
  const flat = expected.flat(3) as (number | string)[];
  const numbers = flat.map((value) => (value === '-inf' ? LOWEST : Number(value)));
  expectNear('what is printed', actual, numbers, (value) => (value === LOWEST ? 0 : PRINTED));
}

const row = (tensor: SelfAttentionResult['scores'], n: number) =>
  tensor.data.slice(n * tensor.shape.at(-1)!, (n + 1) * tensor.shape.at(-1)!);
/** A weight of nn.Linear, [out, in], as [in, out]. */
const transpose = (rows: number[][]) => rows[0]!.map((_, i) => rows.map((row) => row[i]!));
const beside = (a: number[][], b: number[][]) => a.map((row, i) => [...row, ...b[i]!]);

const v1 = {
  queryWeights: weights.seed123_rand.W_query,
  keyWeights: weights.seed123_rand.W_key,
  valueWeights: weights.seed123_rand.W_value,
};
const linear = (w: { W_query: number[][]; W_key: number[][]; W_value: number[][] }) => ({
  queryWeights: transpose(w.W_query),
  keyWeights: transpose(w.W_key),
  valueWeights: transpose(w.W_value),
});
const v2 = linear(weights.seed789_linear);
const [head0, head1] = weights.mha_wrapper_seed123.heads.map(linear) as [typeof v2, typeof v2];

onDevices('the book', (attention) => {
  const attend = (options: object = {}, rows: Rows = inputs) => selfAttention(rows, { ...options, attention: attention() });

  test('scores, weights and contexts without trainable weights', async () => {
    const { scores, weights, context } = await attend();
    expectPrinted(scores.data, printed.attn_scores);
    expectPrinted(weights.data, printed.attn_weights);
    expectPrinted(context.data, printed.all_context_vecs);
    expectPrinted(row(scores, 1), printed.attn_scores_2);
    expectPrinted(row(weights, 1), printed.attn_weights_2_softmax);
    expectPrinted(row(context, 1), printed.context_vec_2);
    expect([scores.shape, weights.shape, context.shape]).toEqual([
      [6, 6],
      [6, 6],
      [6, 3],
    ]);
  });

  test('trainable weights, version 1', async () => {
    const { scores, weights, context } = await attend(v1);
    const unscaled = row(scores, 1).map((score) => score * Math.SQRT2); // the book prints them before the division by √2
    expectPrinted(unscaled, printed.trainable_attn_scores_2);
    expectPrinted([unscaled[1]!], [printed.attn_score_22]);
    expectPrinted(row(weights, 1), printed.trainable_attn_weights_2);
    expectPrinted(row(context, 1), printed.trainable_context_vec_2);
    expectPrinted(context.data, printed.self_attention_v1_seed123);
    const on = attention();
    const x = on.upload(inputs.flat(), [6, 3]);
    const w = on.upload(v1.queryWeights.flat(), [3, 2]);
    const q = await on.project(x, w);
    expectPrinted((await on.download(q)).data.slice(2, 4), printed.query_2);
    on.release(x, w, q);
  });

  test('trainable weights, version 2', async () => {
    const { weights, context } = await attend(v2);
    expectPrinted(context.data, printed.self_attention_v2_seed789);
    expectPrinted(weights.data, printed.v2_attn_weights);
  });

  test('causal mask', async () => {
    const { weights, scores } = await attend({ ...v2, isCausal: true });
    expectPrinted(weights.data, printed.causal_attn_weights);
    const masked = [...scores.data].map((score, i) => (i % 6 > Math.floor(i / 6) ? LOWEST : score * Math.SQRT2));
    expectPrinted(masked, printed.masked_scores_neginf);
    const { context } = await attend({ ...head0, isCausal: true }, { data: Float32Array.from([inputs, inputs].flat(2)), shape: [2, 6, 3] });
    expectPrinted(context.data, printed.causal_attention_class_seed123);
    expect(context.shape).toEqual([2, 6, 2]);
  });

  test('two heads, and multi-head attention with an output projection', async () => {
    const batch = { data: Float64Array.from([inputs, inputs].flat(2)), shape: [2, 6, 3] };
    const both = {
      queryWeights: beside(head0.queryWeights, head1.queryWeights),
      keyWeights: beside(head0.keyWeights, head1.keyWeights),
      valueWeights: beside(head0.valueWeights, head1.valueWeights),
    };
    const wrapper = await attend({ ...both, heads: 2, isCausal: true }, batch);
    expectPrinted(wrapper.context.data, printed.mha_wrapper_seed123_2heads);
    expect(wrapper.weights.shape).toEqual([2, 2, 6, 6]);
    const mha = weights.mha_class_seed123;
    const output = { outputWeights: transpose(mha.out_proj_weight), outputBias: mha.out_proj_bias };
    const { context } = await attend({ ...linear(mha), ...output, heads: 2, isCausal: true }, batch);
    expectPrinted(context.data, printed.mha_class_seed123_2heads_dout2);
  });
});

onDevices('selfAttention', (attention) => {
  test('agrees with the reference on every combination of options', async () => {
    const B = 2;
    const N = 19;
    const width = 12;
    const matrix = (seed: number, rows: number, cols: number) => ({ data: randomArray(seed, rows * cols), shape: [rows, cols] });
    const inputs = { data: randomArray(1, B * N * width), shape: [B, N, width] };
    for (const heads of [1, 3]) {
      for (const isCausal of [false, true]) {
        for (const weighted of [
          {},
          { valueWeights: matrix(2, width, 9) },
          { queryWeights: matrix(3, width, 6), keyWeights: matrix(4, width, 6) },
        ]) {
          for (const output of [{ outputBias: undefined }, { outputBias: randomArray(5, 'valueWeights' in weighted ? 9 : width) }]) {
            const bias = output.outputBias ? { outputBias: [...output.outputBias] } : {};
            const dropped = isCausal ? { dropout: { probability: 0.3, seed: 4 } } : {};
            const options = { heads, isCausal, ...weighted, ...bias, ...dropped };
            const gpu = await selfAttention(inputs, { ...options, attention: attention() });
            const cpu = reference.selfAttention(inputs, options);
            for (const name of ['scores', 'weights', 'context'] as const) {
              expect(gpu[name].shape).toEqual(cpu[name].shape);
              const largest = Math.max(1, ...cpu[name].data.map(Math.abs));
              expectNear(name, gpu[name].data, cpu[name].data, 4e-6 * largest);
            }
          }
        }
      }
    }
  });
});

test('without an Attention it makes one device and keeps it', async () => {
  const untouched = '../src/self-attention.ts?nobody-called-it'; // another instance of the module
  const { selfAttention } = (await import(/* @vite-ignore */ untouched)) as typeof import('../src/self-attention.ts');
  const request = GPU.prototype.requestAdapter;
  let requests = 0;
  GPU.prototype.requestAdapter = function (this: GPU, options) {
    requests++;
    return request.call(this, options);
  };
  try {
    await Promise.all([selfAttention(inputs), selfAttention(inputs)]);
    await selfAttention(inputs);
    expect(requests).toBe(1);
  } finally {
    GPU.prototype.requestAdapter = request;
  }
});
