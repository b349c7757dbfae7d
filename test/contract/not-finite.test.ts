/** Infinities and NaNs: a query that does not see them gets what it would get without them, in every tier, forward and backward. */
import { expect, test } from 'vitest';
import type { AttentionOptions, GpuTensor } from '../../src/index.ts';
import { backward, type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { backwardTiersOf } from '../rig/backward-tiers.ts';
import { onDevices } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { tiersOf } from '../rig/tiers.ts';
import { expectNear } from '../rig/tolerance.ts';

const [B, H, Hk, N, M] = [2, 4, 2, 13, 27];
const NOT_FINITE = [9, 12, 15, 26]; // the keys whose values are not

/** Expects the same infinities and NaNs in the same elements, and elsewhere numbers within 5e-6. */
function expectAlike(what: string, actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  const rest = (values: ArrayLike<number>) => Array.from(values, (value) => (Number.isFinite(value) ? 0 : value));
  expect(rest(actual), what).toEqual(rest(expected));
  const finite = (values: ArrayLike<number>) => Array.from(values, (value) => (Number.isFinite(value) ? value : 0));
  expectNear(what, finite(actual), finite(expected), 5e-6);
}

interface Case {
  readonly sizes: readonly [D: number, Dv: number];
  readonly options: ReferenceOptions;
  readonly isMasked: boolean; // nobody sees those keys
}

onDevices('values that are not finite', (attention) => {
  test.each<[string, Case]>([
    ['all queries see them, the last key among them', { sizes: [16, 6], options: {}, isMasked: false }],
    ['some queries see them', { sizes: [8, 6], options: { isCausal: true }, isMasked: false }],
    [
      'a mask excludes them: softcap, window and dropout',
      { sizes: [20, 20], options: { softcap: 1.5, window: [9, 5], dropout: { probability: 0.3, seed: 8 } }, isMasked: true },
    ],
  ])('%s', async (_, { sizes: [D, Dv], options, isMasked }) => {
    const on = attention();
    const values = randomArray(3, B * Hk * M * Dv);
    for (let head = 0; head < B * Hk; head++)
      for (const [i, m] of NOT_FINITE.entries())
        values[(head * M + m) * Dv + ((7 * i + 2) % Dv)] = [Infinity, Number.NaN, -Infinity, Infinity][i]!;
    const mask = { data: Uint8Array.from({ length: M }, (_, m) => Number(!NOT_FINITE.includes(m))), shape: [M] };
    const q = { data: randomArray(1, B * H * N * D), shape: [B, H, N, D] };
    const k = { data: randomArray(2, B * Hk * M * D), shape: [B, Hk, M, D] };
    const v = { data: values, shape: [B, Hk, M, Dv] };
    const expected = scaledDotProductAttention(q, k, v, { ...options, causalOffset: 9, ...(isMasked && { mask }) }).out.data;
    expect(new Set(Array.from(expected, Number.isFinite))).toEqual(new Set(isMasked ? [true] : [true, false]));
    const tensors = [q, k, v, mask].map(({ data, shape }) => on.upload(data, shape)) as [GpuTensor, GpuTensor, GpuTensor, GpuTensor];
    const [gpuQ, gpuK, gpuV, gpuMask] = tensors;
    const given = { ...options, causalOffset: 9, ...(isMasked && { mask: gpuMask }) } as AttentionOptions;
    for (const way of [{ algorithm: 'explicit' } as const, ...tiersOf(on.device).map(({ variant }) => ({ variant }))]) {
      const { out } = await on.scaledDotProductAttention(gpuQ, gpuK, gpuV, { ...given, ...way });
      expectAlike(JSON.stringify(way), (await on.download(out)).data, expected);
      on.release(out);
    }
    on.release(...tensors);
  });
});

onDevices('scores that are not finite', (attention) => {
  test.each([Number.NaN, Infinity])('a key with %f: NaN for who sees it, and nothing for who does not', async (value) => {
    const on = attention();
    const [H, N, D] = [2, 9, 8];
    const shape = [1, H, N, D];
    const keys = Float32Array.from(randomArray(2, H * N * D), Math.abs);
    keys[4 * D + 1] = value; // key 4 of head 0
    const q = { data: Float32Array.from(randomArray(1, H * N * D), (x) => 1 + Math.abs(x)), shape };
    const v = { data: randomArray(3, H * N * D), shape };
    const expected = scaledDotProductAttention(q, { data: keys, shape }, v, { isCausal: true }).out.data;
    const sees = (row: number) => row < N && row >= 4;
    expect(Array.from(expected, (x) => !Number.isFinite(x))).toEqual(Array.from(expected, (_, i) => sees(Math.floor(i / D))));
    const tensors = [q.data, keys, v.data].map((data) => on.upload(data, shape)) as [GpuTensor, GpuTensor, GpuTensor];
    for (const way of [{ algorithm: 'explicit' } as const, ...tiersOf(on.device).map(({ variant }) => ({ variant }))]) {
      const { out } = await on.scaledDotProductAttention(...tensors, { isCausal: true, ...way });
      const actual = Array.from((await on.download(out)).data, (x) => (Number.isFinite(x) ? x : Number.NaN));
      expectAlike(
        JSON.stringify(way),
        actual,
        Array.from(expected, (x) => (Number.isFinite(x) ? x : Number.NaN)),
      );
      on.release(out);
    }
    on.release(...tensors);
  });
});

onDevices('values that are not finite, backward', (attention) => {
  test('an infinite gradient of the last query makes dv infinite where it should be, in every tier', async () => {
    const on = attention();
    const [H, N, D] = [2, 5, 8];
    const shape = [1, H, N, D];
    const gradients = randomArray(4, H * N * D);
    gradients[(N - 1) * D + 3] = Infinity;
    const host = (seed: number) => ({ data: randomArray(seed, H * N * D), shape });
    const [q, k, v] = [host(1), host(2), host(3)];
    const exact = scaledDotProductAttention(q, k, v, { returnLse: true });
    const expected = backward({ data: gradients, shape }, { q, k, v, out: exact.out, lse: exact.lse! }).v.data;
    const tensors = [q.data, k.data, v.data, gradients].map((data) => on.upload(data, shape)) as [
      GpuTensor,
      GpuTensor,
      GpuTensor,
      GpuTensor,
    ];
    const [gpuQ, gpuK, gpuV, gradient] = tensors;
    const { out, lse } = await on.scaledDotProductAttention(gpuQ, gpuK, gpuV, { returnLse: true });
    for (const { name, variant } of backwardTiersOf(on.device, D, 1)) {
      const { q: dq, k: dk, v: dv } = await on.backward(gradient, { q: gpuQ, k: gpuK, v: gpuV, out, lse: lse! }, { variant });
      expectAlike(name, (await on.download(dv)).data, expected);
      on.release(dq!, dk!, dv!);
    }
    on.release(out, lse!, ...tensors);
  });

  // A causal query sees the keys up to the second before its own: queries 0 and 1 none, the last one all but two.
  test.each<[string, 'q' | 'k' | 'gradient', number[]]>([
    ['a query', 'q', [6]],
    ['a key', 'k', [6]],
    ['two gradients', 'gradient', [5, 10]],
  ])('gradients of what does not see %s are finite and right', async (_, name, affected) => {
    const on = attention();
    const [B, H, Hk, N, D, Dv] = [2, 4, 2, 13, 20, 8];
    const host = (seed: number, heads: number, size: number) => ({
      data: randomArray(seed, B * heads * N * size),
      shape: [B, heads, N, size],
    });
    const inputs = { q: host(1, H, D), k: host(2, Hk, D), v: host(3, Hk, Dv), gradient: host(4, H, Dv) };
    const { data, shape } = inputs[name];
    for (let head = 0; head < B * shape[1]!; head += 3)
      for (const [i, row] of affected.entries())
        data[(head * N + row) * shape[3]! + ((5 * row + 3) % shape[3]!)] = [Number.NaN, Infinity][i]!;
    const { q, k, v, gradient } = inputs;
    const options = { isCausal: true, causalOffset: -2 } as const;
    const exact = scaledDotProductAttention(q, k, v, { ...options, returnLse: true });
    const expected = backward(gradient, { q, k, v, out: exact.out, lse: exact.lse! }, options);
    const upload = ({ data, shape }: { data: ArrayLike<number>; shape: readonly number[] }) => on.upload(Float32Array.from(data), shape);
    const tensors = [q, k, v, exact.out, exact.lse!, gradient].map(upload) as [
      GpuTensor,
      GpuTensor,
      GpuTensor,
      GpuTensor,
      GpuTensor,
      GpuTensor,
    ];
    const [gpuQ, gpuK, gpuV, out, lse, gpuGradient] = tensors;
    for (const rows of [1, 4])
      for (const { name: tier, variant } of backwardTiersOf(on.device, D, rows)) {
        const got = await on.backward(gpuGradient, { q: gpuQ, k: gpuK, v: gpuV, out, lse }, { ...options, variant });
        for (const tensor of ['q', 'k', 'v'] as const) {
          const { data: values } = expected[tensor];
          const right = Array.from((await on.download(got[tensor]!)).data, (value, i) => (Number.isFinite(values[i]) ? value : 0));
          const finite = values.map((value) => (Number.isFinite(value) ? value : 0));
          expectNear(`${tier}, ${rows} rows: the gradient of ${tensor}`, right, finite, 5e-5);
        }
        on.release(got.q!, got.k!, got.v!);
      }
    for (const { data } of [expected.q, expected.k]) expect(new Set(Array.from(data, Number.isFinite)).size).toBe(2);
    on.release(...tensors);
  });
});
