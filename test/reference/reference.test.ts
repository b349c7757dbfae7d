/** The CPU reference against the book's printed numbers, against values worked by hand, and against its own definitions. */
import { describe, expect, test } from 'vitest';
import {
  backward,
  merge,
  naiveSoftmax,
  normalizeBySum,
  scaledDotProductAttention,
  selfAttention,
  softmax,
} from '../../src/reference/index.ts';
import book from '../book.json';
import { randomArray } from '../rig/random.ts';
import { expectNear, LOWEST } from '../rig/tolerance.ts';

const expectClose = (actual: ArrayLike<number>, expected: readonly number[], within = 5.1e-5) =>
  expectNear('values', actual, expected, within);

describe('the book', () => {
  const { scores, weights, context } = selfAttention(book.inputs);
  const query = scores.data.slice(6, 12);

  test('self-attention', () => {
    expectClose(scores.data, book.printed.attn_scores.flat());
    expectClose(weights.data, book.printed.attn_weights.flat());
    expectClose(context.data, book.printed.all_context_vecs.flat());
  });

  test.each(['f64', 'f32'] as const)('three ways to normalise the scores of "journey", in %s', (precision) => {
    expectClose(normalizeBySum(query, 6, precision), book.printed.attn_weights_2_tmp);
    expectClose(naiveSoftmax(query, 6, precision), book.printed.attn_weights_2_naive);
    expectClose(softmax(query, 6).weights, book.printed.attn_weights_2_softmax);
  });

  test('the naive ones overflow and underflow in f32, the stable one does not', () => {
    const large = query.map((score) => score * 100);
    expect([...naiveSoftmax(large, 6, 'f32')].some(Number.isNaN)).toBe(true);
    expect(
      [
        ...naiveSoftmax(
          query.map((score) => score * -200),
          6,
          'f32',
        ),
      ].some(Number.isNaN),
    ).toBe(true);
    expect(normalizeBySum([3e38, 3e38], 2, 'f32')).toEqual(Float64Array.of(0, 0)); // the sum overflows
    const stable = softmax(large, 6).weights;
    expect(stable.filter(Number.isFinite).length).toBe(6);
    expect(stable.reduce((sum, weight) => sum + weight)).toBeCloseTo(1, 12);
  });
});

describe('softmax', () => {
  test('rows sum to 1, and the log-sum-exp is the logarithm of the denominator', () => {
    const { weights, lse } = softmax([0, Math.log(3), 1000, 1000], 2);
    expectClose(weights, [0.25, 0.75, 0.5, 0.5], 1e-15);
    expectClose(lse, [Math.log(4), 1000 + Math.LN2], 1e-12);
  });

  test('a row of excluded elements is 0', () => {
    const { weights, lse } = softmax([-Infinity, LOWEST], 2);
    expect([...weights, ...lse]).toEqual([0, 0, LOWEST]);
  });

  test.each([
    [[1, 2, 3], 2],
    [[1], 0],
    [[1], 1.5],
  ] as const)('%j in rows of %d is an error', (scores, length) => {
    expect(() => softmax(scores, length)).toThrow(expect.objectContaining({ code: 'shape' }));
  });
});

const tensor = (shape: number[], seed: number) => ({
  data: randomArray(
    seed,
    shape.reduce((a, b) => a * b),
  ),
  shape,
});
const q = tensor([2, 4, 3, 5], 1);
const k = tensor([2, 2, 7, 5], 2);
const v = tensor([2, 2, 7, 6], 3);

describe('scaledDotProductAttention', () => {
  test('grouped heads equal expanded heads', () => {
    const expand = ({ data, shape: [B, , M, D] }: typeof k) => {
      const out = new Float32Array(B! * 4 * M! * D!);
      for (let b = 0; b < B!; b++) {
        for (let h = 0; h < 4; h++)
          out.set(data.subarray((b * 2 + Math.floor(h / 2)) * M! * D!, (b * 2 + Math.floor(h / 2) + 1) * M! * D!), (b * 4 + h) * M! * D!);
      }
      return { data: out, shape: [B!, 4, M!, D!] };
    };
    expect(scaledDotProductAttention(q, k, v)).toEqual(scaledDotProductAttention(q, expand(k), expand(v)));
  });

  test('key lengths equal a shorter k and v', () => {
    const cut = ({ data, shape: [B, H, M, D] }: typeof k) => {
      const rows = Array.from({ length: B! * H! }, (_, i) => [...data.subarray(i * M! * D!, i * M! * D! + 4 * D!)]);
      return { data: Float32Array.from(rows.flat()), shape: [B!, H!, 4, D!] };
    };
    expect(scaledDotProductAttention(q, k, v, { keyLengths: [4, 4] }).out).toEqual(scaledDotProductAttention(q, cut(k), cut(v)).out);
  });

  test('a boolean mask equals an additive one of 0 and −∞, and causal equals a triangle', () => {
    const allowed = Array.from({ length: 21 }, (_, i) => i % 7 <= Math.floor(i / 7) + 1);
    const boolean = scaledDotProductAttention(q, k, v, { mask: { data: allowed, shape: [3, 7] } });
    const bytes = scaledDotProductAttention(q, k, v, { mask: { data: Uint8Array.from(allowed, Number), shape: [3, 7] } });
    const additive = scaledDotProductAttention(q, k, v, {
      mask: { data: Float32Array.from(allowed, (on) => (on ? 0 : -Infinity)), shape: [3, 7] },
    });
    expect(bytes).toEqual(boolean);
    expect(additive).toEqual(boolean);
    expect(scaledDotProductAttention(q, k, v, { isCausal: true, causalOffset: 1 })).toEqual(boolean);
  });

  test('a sink of −∞ is none, also in a row that sees no key', () => {
    const sinks = { data: new Float64Array(q.shape[1]!).fill(-Infinity), shape: [q.shape[1]!] };
    const options = { keyLengths: [0, 7], returnLse: true, returnScores: 'weights' as const };
    expect(scaledDotProductAttention(q, k, v, { ...options, sinks })).toEqual(scaledDotProductAttention(q, k, v, options));
  });

  test('takes f32 and f64, and gives f64', () => {
    const wide = { data: Float64Array.from(q.data), shape: q.shape };
    expect(scaledDotProductAttention(wide, k, v)).toEqual(scaledDotProductAttention(q, k, v));
    expect(scaledDotProductAttention(q, k, v).out.data).toBeInstanceOf(Float64Array);
  });
});

describe('what is an error', () => {
  test.each([
    ['shape', () => scaledDotProductAttention({ ...q, shape: [2, 4, 3, 4] }, k, v)],
    ['shape', () => scaledDotProductAttention(k, q, v)],
    ['option', () => scaledDotProductAttention(q, k, v, { keyLengths: [1, -1] })],
    ['shape', () => scaledDotProductAttention(q, k, v, { keyLengths: 5 as never })],
    ['dtype', () => scaledDotProductAttention(q, k, v, { mask: { data: Int32Array.of(0, 1) as never, shape: [2] } })],
    ['shape', () => scaledDotProductAttention(q, k, v, { keyLengths: [1] })],
    ['dtype', () => scaledDotProductAttention({ data: Int32Array.of(1) as never, shape: [1, 1, 1, 1] }, k, v)],
    ['option', () => scaledDotProductAttention(q, k, v, { dropout: { probability: 1, seed: 1 } })],
    ['shape', () => scaledDotProductAttention(q, k, v, { dropout: { probability: 0.5, seed: 1 }, keep: { data: [true], shape: [1] } })],
    ['option', () => scaledDotProductAttention(q, k, v, { causal: true } as object)],
    ['option', () => scaledDotProductAttention(q, k, v, null as never)],
    ['option', () => scaledDotProductAttention(q, k, v, 5 as never)],
    ['shape', () => scaledDotProductAttention(q, k, v, { mask: null as never })],
    ['shape', () => scaledDotProductAttention(q, k, v, { sinks: 0 as never })],
    ['shape', () => scaledDotProductAttention(q, k, v, { keyLengths: false as never })],
    ['option', () => backward(q, null as never)],
    ['option', () => backward(v, { q, k, v, out: v, lse: v }, { returnScores: 'raw' })],
    ['shape', () => merge([null as never])],
    [
      'shape',
      () => merge([{ out: { data: new Float64Array(6), shape: [1, 2, 3] }, lse: { data: new Float64Array(6), shape: [1, 2, 3] } }]),
    ],
    ['option', () => scaledDotProductAttention(q, k, v, { variant: {} } as object)],
  ])('bad input %#: %s', (code, call) => {
    expect(call).toThrow(expect.objectContaining({ name: 'AttentionError', code }));
  });
});
