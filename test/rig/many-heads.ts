/** Problems whose grids are longer than a device dispatches in one dimension, checked by samples. */
import { expect } from 'vitest';
import type { Attention, AttentionOptions, GpuTensor } from '../../src/index.ts';
import { backward, scaledDotProductAttention } from '../../src/reference/index.ts';
import { backwardTiersOf } from './backward-tiers.ts';
import { randomArray } from './random.ts';
import { firstTiersOf } from './tiers.ts';
import { expectWithin } from './tolerance.ts';

const [N, M, D] = [2, 3, 4];
/** Eight terms at most are summed here: a few roundings. */
const WITHIN = 2e-6;

const part = (data: ArrayLike<number>, at: number, length: number) => Float32Array.from({ length }, (_, i) => data[at * length + i]!);
const numbers = async (on: Attention, tensor: GpuTensor) => (await on.download(tensor)).data;
const rows = (data: Float32Array, at: number, count: number) => ({ data: part(data, at, count * D), shape: [1, 1, count, D] });

/** Forward by every kernel, backward by every kernel, and merge. @param samples numbers of heads, from 0 to B · H − 1 */
export async function expectManyHeads(on: Attention, B: number, H: number, samples: readonly number[]): Promise<void> {
  const heads = B * H;
  const data = {
    q: randomArray(1, heads * N * D),
    k: randomArray(2, heads * M * D),
    v: randomArray(3, heads * M * D),
    gradient: randomArray(4, heads * N * D),
    sinks: randomArray(5, H),
  };
  const sinks = on.upload(data.sinks, [H]);
  const q = on.upload(data.q, [B, H, N, D]);
  const k = on.upload(data.k, [B, H, M, D]);
  const v = on.upload(data.v, [B, H, M, D]);
  const gradient = on.upload(data.gradient, [B, H, N, D]);
  const expected = samples.map((head) => ({ head, ...referenceOf(data, head, H) }));
  const expectSamples = async (what: string, tensor: GpuTensor, pick: (sample: (typeof expected)[number]) => ArrayLike<number>) => {
    const got = await numbers(on, tensor);
    for (const sample of expected)
      expectWithin(
        `${what} of head ${sample.head}`,
        { sample: part(got, sample.head, pick(sample).length) },
        { sample: pick(sample) },
        WITHIN,
      );
  };
  const made: GpuTensor[] = []; // released at the end: no result may lie in a buffer that holds another one's
  const ways: AttentionOptions[] = [{ algorithm: 'explicit' }, ...firstTiersOf(on.device).map(({ variant }) => ({ variant }))];
  for (const way of ways) {
    const { out, lse } = await on.scaledDotProductAttention(q, k, v, { ...way, sinks, returnLse: true });
    await expectSamples(`${JSON.stringify(way)} out`, out, (sample) => sample.out);
    await expectSamples(`${JSON.stringify(way)} lse`, lse!, (sample) => sample.lse);
    made.push(out, lse!);
  }
  const { out, lse } = await on.scaledDotProductAttention(q, k, v, { sinks, returnLse: true });
  for (const { name, variant } of backwardTiersOf(on.device, D)) {
    const gradients = await on.backward(gradient, { q, k, v, out, lse: lse! }, { variant, sinks });
    for (const of of ['q', 'k', 'v'] as const) await expectSamples(`${name} d${of}`, gradients[of], (sample) => sample.gradients[of].data);
    expect((await numbers(on, gradients.sinks!)).every(Number.isFinite)).toBe(true);
    made.push(gradients.q, gradients.k, gradients.v, gradients.sinks!);
  }
  const whole = { out, lse: lse! };
  const merged = await on.merge([whole, whole]); // every key twice: the same mean
  await expectSamples('merged out', merged.out, (sample) => sample.out);
  on.release(q, k, v, gradient, sinks, out, lse!, merged.out, merged.lse, ...made);
}

function referenceOf(data: Readonly<Record<'q' | 'k' | 'v' | 'gradient' | 'sinks', Float32Array>>, head: number, H: number) {
  const given = { q: rows(data.q, head, N), k: rows(data.k, head, M), v: rows(data.v, head, M) };
  const sinks = { data: part(data.sinks, head % H, 1), shape: [1] };
  const { out, lse } = scaledDotProductAttention(given.q, given.k, given.v, { returnLse: true, sinks });
  const gradients = backward(rows(data.gradient, head, N), { ...given, out, lse: lse! }, { sinks });
  return { out: out.data, lse: lse!.data, gradients };
}

/** The gradient of a mask of so many batch elements. */
export async function expectMaskGradient(on: Attention, B: number, samples: readonly number[]): Promise<void> {
  const data = { q: randomArray(1, B * D), k: randomArray(2, B * 2 * D), mask: randomArray(3, B * 2) };
  const q = on.upload(data.q, [B, 1, 1, D]);
  const k = on.upload(data.k, [B, 1, 2, D]);
  const mask = on.upload(data.mask, [B, 1, 1, 2]);
  const { out, lse } = await on.scaledDotProductAttention(q, k, k, { mask, returnLse: true });
  const made = await on.backward(q, { q, k, v: k, out, lse: lse! }, { mask, maskGradient: true });
  const got = await numbers(on, made.mask!);
  const expected = samples.flatMap((b) => {
    const given = { q: rows(data.q, b, 1), k: rows(data.k, b, 2), v: rows(data.k, b, 2) };
    const maskOfOne = { data: part(data.mask, b, 2), shape: [1, 1, 1, 2] };
    const exact = scaledDotProductAttention(given.q, given.k, given.v, { mask: maskOfOne, returnLse: true });
    return [...backward(given.q, { ...given, out: exact.out, lse: exact.lse! }, { mask: maskOfOne, maskGradient: true }).mask!.data];
  });
  expectWithin('mask', { mask: samples.flatMap((b) => [...part(got, b, 2)]) }, { mask: expected }, WITHIN);
  on.release(q, k, mask, out, lse!, made.q, made.k, made.v, made.mask!);
}

/** A projection of so many rows of two numbers, and its gradient. */
export async function expectManyRows(on: Attention, count: number, samples: readonly number[]): Promise<void> {
  const data = randomArray(1, count * 2);
  const x = on.upload(data, [count, 2]);
  const weights = on.upload([1, 2, 3, 4, 5, 6], [2, 3]);
  const bias = on.upload([0.5, 0.25, 0], [3]);
  const y = await on.project(x, weights, bias);
  const made = await on.projectBackward(y, x, weights);
  const [got, dX] = [await numbers(on, y), await numbers(on, made.x)];
  for (const row of samples) {
    const [a, b] = [data[2 * row]!, data[2 * row + 1]!];
    const sums = [a + 4 * b + 0.5, 2 * a + 5 * b + 0.25, 3 * a + 6 * b] as const;
    expectWithin(`row ${row}`, { sample: part(got, row, 3) }, { sample: sums }, WITHIN);
    const back = [sums[0] + 2 * sums[1] + 3 * sums[2], 4 * sums[0] + 5 * sums[1] + 6 * sums[2]];
    expectWithin(`gradient of row ${row}`, { sample: part(dX, row, 2) }, { sample: back }, WITHIN);
  }
  on.release(x, weights, bias, y, made.x, made.weights, made.bias);
}
