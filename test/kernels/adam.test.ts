import { expect, test } from 'vitest';
import { type AdamOptions, normalizeAdam } from '../../src/contract/adam-options.ts';
import { adamDispatch, type Range } from '../../src/kernels/adam.ts';
import { adam as reference } from '../../src/reference/adam.ts';
import { onDevices, place, placeBytes } from '../rig/gpu.ts';
import { runKernel } from '../rig/kernel.ts';
import { randomArray } from '../rig/random.ts';
import { expectNear } from '../rig/tolerance.ts';

onDevices('adam', (attention) => {
  /** Steps on one range of parameters, with new gradients each. */
  async function runSteps(start: Float32Array, gradients: readonly Float32Array[], options: Required<AdamOptions>, range: Range) {
    const { device } = attention();
    const total = start.length;
    const parameters = place(device, start, [total], { offset: 256 });
    const moments = place(device, new Float32Array(2 * total), [2, total], { offset: 256 });
    for (const [i, data] of gradients.entries()) {
      const tensors = {
        gradients: placeBytes(device, data, [total], { offset: 0 }),
        parameters: parameters.tensor,
        moments: moments.tensor,
      };
      await runKernel(attention(), adamDispatch(range, total, i + 1, options), tensors);
    }
    return parameters.read();
  }

  test('the first step by hand: the rate, against the gradient’s sign, whatever its size', async () => {
    const options = normalizeAdam('test', { learningRate: 0.5 });
    const got = await runSteps(Float32Array.of(1, 1, 1), [Float32Array.of(1e-3, -50, 0)], options, { first: 0, count: 3 });
    for (const [i, expected] of [0.5, 1.5, 1].entries()) expect(got[i]).toBeCloseTo(expected, 4);
  });

  test('two steps by hand, without memory', async () => {
    // β₁ = β₂ = 0: θ − rate · g / (|g| + ε), with ε = 1: 0 − 3/4 + 1/2
    const options = { learningRate: 1, beta1: 0, beta2: 0, epsilon: 1 };
    const got = await runSteps(Float32Array.of(0), [Float32Array.of(3), Float32Array.of(-1)], options, { first: 0, count: 1 });
    expect(got[0]).toBeCloseTo(-0.25, 6);
  });

  test.each([
    [{ first: 0, count: 67 }, {}],
    [
      { first: 5, count: 3 },
      { learningRate: 0.02, beta1: 0.5, beta2: 0.9, epsilon: 1e-3 },
    ],
  ] as const)('20 steps on %o with %o: as the reference, and nothing outside the range', async (range, given) => {
    const options = normalizeAdam('test', given);
    const total = 67;
    const start = randomArray(1, total);
    const gradients = Array.from({ length: 20 }, (_, i) => randomArray(i + 2, total, 10 ** (-i % 4)));
    const got = await runSteps(start, gradients, options, range);
    const expected = Float64Array.from(start);
    const moments = { mean: new Float64Array(total), square: new Float64Array(total) };
    for (const [i, data] of gradients.entries()) reference(expected, data, moments, i + 1, options);
    const isInside = (i: number) => i >= range.first && i < range.first + range.count;
    const right = Array.from(start, (value, i) => (isInside(i) ? expected[i]! : value));
    expectNear('parameters', got, right, (_, i) => (isInside(i) ? 20 * 2 ** -23 : 0)); // 20 steps, each rounds a number of about 1
  });
});

test.each([
  [{ learningRate: Number.NaN }, 'learningRate is NaN: need a finite number ≥ 0'],
  [{ learningRate: -1 }, 'learningRate is -1: need a finite number ≥ 0'],
  [{ beta1: 1 }, 'beta1 is 1: need a number from 0 to below 1'],
  [{ beta2: 0.99999999999 }, 'beta2 is 0.99999999999: need a number from 0 to below 1'],
  [{ epsilon: 0 }, 'epsilon is 0: need a number > 0 that f32 can hold'],
  [{ rate: 1 }, 'unknown option "rate": known are learningRate, beta1, beta2, epsilon'],
])('%o is an error', (options, message) => {
  expect(() => normalizeAdam('update', options as AdamOptions)).toThrow(`update: ${message}`);
});
