/** The reference's analytic gradients against central differences of the reference's forward pass, for every option and every pair of options. */
import { expect, test } from 'vitest';
import { backward, type HostTensor, type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { random, randomArray } from '../rig/random.ts';
import { expectNear } from '../rig/tolerance.ts';

const [B, H, Hk, N, M, D, Dv] = [2, 4, 2, 3, 5, 3, 2];
const tensor = (seed: number, ...shape: number[]): HostTensor => ({
  data: Float64Array.from(
    randomArray(
      seed,
      shape.reduce((a, b) => a * b, 1),
      1.5,
    ),
  ),
  shape,
});
const draw = random(9);
const booleans = (...shape: number[]) => ({
  data: Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Number(draw() < 0.7)),
  shape,
});

const OPTIONS: Record<string, ReferenceOptions> = {
  scale: { scale: -0.7 },
  causal: { isCausal: true, causalOffset: 1 },
  'lower-right': { isCausal: true, causalOffset: 'lower-right' },
  window: { window: [2, 1] },
  softcap: { softcap: 1.3 },
  'boolean mask': { mask: booleans(N, M) },
  'additive mask': { mask: tensor(5, B, 1, 1, M) },
  'mask of every head': { mask: tensor(6, H, N, M) },
  keyLengths: { keyLengths: [4, 2] },
  alibi: { alibiSlopes: tensor(7, H) },
  sinks: { sinks: tensor(8, H) },
  dropout: { dropout: { probability: 0.3, seed: 11 } },
  keep: { dropout: { probability: 0.3, seed: 11 }, keep: booleans(B, H, N, M) },
};
const names = Object.keys(OPTIONS);
const pairs = names.flatMap((a, i) => names.slice(i).map((b) => [a, b] as const));

test.each(pairs)('%s and %s', (a, b) => {
  const options: ReferenceOptions = { ...OPTIONS[a], ...OPTIONS[b], returnLse: true };
  const [q, k, v, gradient] = [tensor(1, B, H, N, D), tensor(2, B, Hk, M, D), tensor(3, B, Hk, M, Dv), tensor(4, B, H, N, Dv)];
  const loss = () => {
    const { out } = scaledDotProductAttention(q!, k!, v!, options);
    return Array.from(out.data, (value, i) => value * gradient!.data[i]!).reduce((sum, term) => sum + term, 0);
  };
  const hasMaskGradient = (options.mask as HostTensor | undefined)?.data instanceof Float64Array;
  const { out, lse } = scaledDotProductAttention(q!, k!, v!, options);
  const gradients = backward(gradient!, { q: q!, k: k!, v: v!, out, lse: lse! }, { ...options, maskGradient: hasMaskGradient });
  const inputs: Record<string, HostTensor> = {
    q: q!,
    k: k!,
    v: v!,
    ...(hasMaskGradient && { mask: options.mask as HostTensor }),
    ...(options.sinks && { sinks: options.sinks as HostTensor }),
  };
  expect(Object.keys(gradients).sort()).toEqual(Object.keys(inputs).sort());
  for (const [name, input] of Object.entries(inputs)) {
    const analytic = gradients[name as keyof typeof gradients]!;
    expect(analytic.shape).toEqual(input.shape);
    const differences = new Float64Array(input.data.length);
    for (let i = 0; i < input.data.length; i++) {
      const value = input.data[i]!;
      const step = 1e-5;
      input.data[i] = value + step;
      const above = loss();
      input.data[i] = value - step;
      const below = loss();
      input.data[i] = value;
      differences[i] = (above - below) / (2 * step);
    }
    expectNear(`d${name}`, analytic.data, differences, 1e-6);
  }
});

test('a row that sees no key has gradients of exactly 0', () => {
  const [q, k, v, gradient] = [tensor(1, 1, 1, 2, 2), tensor(2, 1, 1, 2, 2), tensor(3, 1, 1, 2, 2), tensor(4, 1, 1, 2, 2)] as const;
  const options = { isCausal: true, causalOffset: -1, returnLse: true } as const; // query 0 sees nothing, query 1 sees key 0
  const { out, lse } = scaledDotProductAttention(q, k, v, options);
  const gradients = backward(gradient, { q, k, v, out, lse: lse! }, options);
  expect([...gradients.q.data.slice(0, 2)]).toEqual([0, 0]);
  expect([...gradients.k.data.slice(2)]).toEqual([0, 0]);
  expect([...gradients.v.data]).toEqual([gradient.data[2], gradient.data[3], 0, 0]); // query 1 has weight 1 on key 0
});

test.each([
  [{ maskGradient: true }, /maskGradient needs an additive mask, mask is undefined/],
  [{ maskGradient: true, mask: booleans(N, M) }, /maskGradient needs an additive mask, mask is "boolean"/],
  [{ maskGradient: 1 as never }, /maskGradient is 1/],
])('%j is an error', (options, message) => {
  const [q, k, v, gradient] = [tensor(1, B, H, N, D), tensor(2, B, Hk, M, D), tensor(3, B, Hk, M, Dv), tensor(4, B, H, N, Dv)];
  const { out, lse } = scaledDotProductAttention(q!, k!, v!, { returnLse: true });
  expect(() => backward(gradient!, { q: q!, k: k!, v: v!, out, lse: lse! }, options)).toThrow(message);
});
