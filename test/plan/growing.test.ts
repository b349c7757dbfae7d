/** Calls whose lengths differ share what was compiled: a decoder's key view grows by one at each step, and nothing but its outputs is made. */
import { describe, expect, test } from 'vitest';
import { type Attention, createAttention, type GpuTensor, type HostTensor } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { counting } from '../rig/counting.ts';
import { requestDefaultDevice } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { expectWithin } from '../rig/tolerance.ts';

const STEPS = 128;
const [H, HK, D, CAPACITY] = [4, 2, 8, 800];

/** Key heads' rows from 0 on, of a cache. */
const view = (cache: GpuTensor, length: number): GpuTensor => ({
  ...cache,
  shape: [1, HK, length, D],
  strides: [HK * CAPACITY * D, CAPACITY * D, D, 1],
});

async function withAttention(device: GPUDevice | undefined, body: (on: Attention) => Promise<void>): Promise<void> {
  const on = await createAttention(device ? { device } : {});
  await body(on).finally(() => {
    on.destroy();
    device?.destroy();
  });
}

/** Counts what 127 steps make after the first, and checks the last one's result. */
async function decode(
  on: Attention,
  first: number,
  options: object,
  onHost: (heads: HostTensor) => object = () => options,
): Promise<Record<string, number>> {
  const data = { q: randomArray(1, H * D), k: randomArray(2, HK * CAPACITY * D), v: randomArray(3, HK * CAPACITY * D) };
  const [q, k, v] = [on.upload(data.q, [1, H, 1, D]), on.upload(data.k, [1, HK, CAPACITY, D]), on.upload(data.v, [1, HK, CAPACITY, D])];
  let last: GpuTensor | undefined;
  const step = async (length: number) => {
    last = (await on.scaledDotProductAttention(q, view(k, length), view(v, length), options)).out;
  };
  await step(first);
  const counts = await counting(on.device, async () => {
    for (let i = 1; i < STEPS; i++) await step(first + i);
  });
  const length = first + STEPS - 1;
  const rows = (all: Float32Array) =>
    Float32Array.from({ length: HK * length * D }, (_, i) => all[Math.floor(i / (length * D)) * CAPACITY * D + (i % (length * D))]!);
  const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
  const expected = scaledDotProductAttention(
    host(data.q, 1, H, 1, D),
    host(rows(data.k), 1, HK, length, D),
    host(rows(data.v), 1, HK, length, D),
    onHost(host(new Float32Array(H).fill(0.1), H)),
  );
  expectWithin('out', { out: (await on.download(last!)).data }, { out: expected.out.data }, 2e-6);
  return counts;
}

describe.each([
  ['own device', async (): Promise<GPUDevice | undefined> => undefined],
  ['default device', requestDefaultDevice],
] as const)('growing key views, %s', (_, request) => {
  // Up to 128 keys; beyond 128; from one split of the keys to two.
  test.each([1, 100, 450])('128 steps from %d keys on', async (first): Promise<void> => {
    const madeAfterTheFirst = { createBuffer: STEPS - 1, createComputePipelineAsync: 0, createShaderModule: 0 }; // each step's out
    await withAttention(await request(), async (on) => {
      expect(await decode(on, first, { isCausal: true, causalOffset: 'lower-right' })).toMatchObject(madeAfterTheFirst);
    });
  });

  test('with slopes and sinks, from one split of the keys to two', async () =>
    withAttention(await request(), async (on) => {
      const heads = on.upload(new Float32Array(H).fill(0.1), [H]);
      const counts = await decode(on, 450, { alibiSlopes: heads, sinks: heads }, (values) => ({ alibiSlopes: values, sinks: values }));
      expect(counts).toMatchObject({ createBuffer: STEPS - 1, createComputePipelineAsync: 0 });
    }));

  test('with the log-sum-exp', async () =>
    withAttention(await request(), async (on) => {
      const counts = await decode(on, 31, { returnLse: true });
      expect(counts).toMatchObject({ createBuffer: 2 * (STEPS - 1), createComputePipelineAsync: 0 });
    }));

  test('returning scores: out and scores', async () =>
    withAttention(await request(), async (on) => {
      const counts = await decode(on, 60, { returnScores: 'masked' });
      expect(counts).toMatchObject({ createComputePipelineAsync: 0, createShaderModule: 0 });
      // The weights, which grow as the scores do, lie in a workspace of the pool: a power of 2 of 1 to 4 KiB.
      expect(counts.createBuffer).toBeLessThanOrEqual(2 * (STEPS - 1) + 2);
    }));

  test('project of any number of rows', async () =>
    withAttention(await request(), async (on) => {
      const [x, w] = [on.upload(randomArray(1, 64 * 8), [64, 8]), on.upload(randomArray(2, 8 * 8), [8, 8])];
      const projectRows = (rows: number) => on.project({ ...x, shape: [rows, 8] }, w);
      await projectRows(1);
      const counts = await counting(on.device, async () => {
        for (let rows = 2; rows <= 32; rows++) await projectRows(rows);
      });
      expect(counts).toMatchObject({ createBuffer: 31, createComputePipelineAsync: 0 });
    }));
});
