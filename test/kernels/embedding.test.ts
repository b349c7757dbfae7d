import { expect, test } from 'vitest';
import { checkLayout, dense } from '../../src/contract/tensor.ts';
import type { DType, GpuTensor } from '../../src/index.ts';
import { embeddingDispatch } from '../../src/kernels/embedding.ts';
import { embeddingBackwardDispatch } from '../../src/kernels/embedding_backward.ts';
import { embedding as reference, embeddingBackward as referenceBackward } from '../../src/reference/embedding.ts';
import { onDevices, place, placeBytes } from '../rig/gpu.ts';
import { runKernel } from '../rig/kernel.ts';
import { random, randomArray } from '../rig/random.ts';
import { greatestError } from '../rig/tolerance.ts';

const layoutOf = (tensor: GpuTensor) => checkLayout('test', tensor, 'input');

onDevices('embedding', (attention) => {
  const u32 = { dtype: 'u32' as DType };

  async function forward(tokens: readonly number[], [B, N]: readonly [number, number], table: Float32Array, positions: Float32Array) {
    const { device } = attention();
    const width = positions.length / N;
    const x = place(device, null, [B, N, width], { offset: 512 + 8 });
    const tensors = {
      tokens: placeBytes(device, tokens, [B, N], u32),
      table: placeBytes(device, table, [table.length / width, width]),
      positions: placeBytes(device, positions, [N, width]),
      x: x.tensor,
    };
    const layouts = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, layoutOf(tensor)]));
    await runKernel(attention(), embeddingDispatch(layouts as unknown as Parameters<typeof embeddingDispatch>[0], 256), tensors);
    return x.read();
  }

  async function backward(tokens: readonly number[], [B, N]: readonly [number, number], dX: Float32Array, vocabulary: number) {
    const { device } = attention();
    const width = dX.length / (B * N);
    const gap = 3; // between the two, as other parameters may lie there
    const whole = place(device, null, [vocabulary * width + gap + N * width], { offset: 0 });
    const tensors = {
      tokens: placeBytes(device, tokens, [B, N], u32),
      dx: placeBytes(device, dX, [B, N, width]),
      gradient: whole.tensor,
    };
    const table = dense([vocabulary, width]);
    const positions = { ...dense([N, width]), offset: 4 * (vocabulary * width + gap) };
    const layouts = { tokens: layoutOf(tensors.tokens), dx: layoutOf(tensors.dx), table, positions };
    await runKernel(attention(), embeddingBackwardDispatch(layouts, 256), tensors);
    const all = await whole.read();
    const end = vocabulary * width;
    return { table: all.slice(0, end), between: all.slice(end, end + gap), positions: all.slice(end + gap) };
  }

  test('2 words by hand; a token beyond the table has only its place', async () => {
    const x = await forward([1, 0, 7, 1], [2, 2], Float32Array.of(1, 2, 3, 4), Float32Array.of(10, 20, 30, 40));
    expect([...x]).toEqual([13, 24, 31, 42, 10, 20, 33, 44]);
  });

  test('gradients by hand: a repeated word gathers every time, an unused one nothing', async () => {
    const { table, positions, between } = await backward([1, 1, 7, 1], [2, 2], Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), 3);
    expect([...table]).toEqual([0, 0, 1 + 3 + 7, 2 + 4 + 8, 0, 0]);
    expect([...positions]).toEqual([1 + 5, 2 + 6, 3 + 7, 4 + 8]);
    expect([...between]).toEqual([1e3, 1e3, 1e3]); // the poison is still there
  });

  test.each([
    [1, 1, 1, 1],
    [3, 5, 7, 4],
    [16, 16, 32, 57],
    [2, 13, 65, 3],
  ])('%d sentences of %d words of %d numbers, %d in the vocabulary', async (B, N, width, vocabulary) => {
    const next = random(B * N);
    const tokens = Array.from({ length: B * N }, () => Math.floor(next() * (vocabulary + 1)));
    const [table, positions] = [randomArray(1, vocabulary * width), randomArray(2, N * width)];
    const x = await forward(tokens, [B, N], table, positions);
    expect([...x]).toEqual([...Float32Array.from(reference(tokens, table, positions, width))]); // one rounding
    const dX = randomArray(3, B * N * width);
    const got = await backward(tokens, [B, N], dX, vocabulary);
    const expected = referenceBackward(dX, tokens, vocabulary, N);
    // Sums of at most B·N numbers below 1, one rounding each.
    const allowed = (B * N) ** 2 * 2 ** -24;
    for (const name of ['table', 'positions'] as const) expect(greatestError(got[name], expected[name])).toBeLessThanOrEqual(allowed);
    expect(await backward(tokens, [B, N], dX, vocabulary)).toEqual(got);
  });
});
