/** The gradients with every option and every pair of options against the reference; exclusion; what the contract says of edges. */
import { describe, expect, test } from 'vitest';
import type { Attention } from '../../src/index.ts';
import type { HostTensor, ReferenceBackwardOptions } from '../../src/reference/index.ts';
import { type BackwardTier, backwardTiersOf } from '../rig/backward-tiers.ts';
import { onDevices } from '../rig/gpu.ts';
import { type BackwardInputs, dataOf, expectedOf, gradientsOn } from '../rig/gradients.ts';
import { random, randomArray } from '../rig/random.ts';
import { withEveryFlag } from '../rig/tiers.ts';
import { expectNear, expectWithin } from '../rig/tolerance.ts';

const WITHIN = 2e-5; // of the largest gradient
const [B, H, Hk, N, M, D, Dv] = [2, 4, 2, 19, 37, 5, 7];
const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const tensor = (seed: number, ...shape: number[]) => ({ data: randomArray(seed, count(shape), 1.5), shape });
const draw = random(9);
const expectZeros = (what: string, data: ArrayLike<number>) => expectNear(what, data, new Float32Array(data.length), 0);
const booleans = (...shape: number[]) => ({ data: Uint8Array.from({ length: count(shape) }, () => Number(draw() < 0.7)), shape });
/** Numbers, a fifth of them −∞. */
const biases = (seed: number, ...shape: number[]) => {
  const made = tensor(seed, ...shape);
  for (let i = 0; i < made.data.length; i += 5) made.data[i] = Number.NEGATIVE_INFINITY;
  return made;
};

const OPTIONS: Record<string, ReferenceBackwardOptions> = {
  scale: { scale: -0.7 },
  'scale 0': { scale: 0 },
  causal: { isCausal: true, causalOffset: -3 },
  'lower-right': { isCausal: true, causalOffset: 'lower-right' },
  window: { window: [6, 3] },
  softcap: { softcap: 1.3 },
  'boolean mask': { mask: booleans(N, M) },
  'additive mask': { mask: biases(5, B, 1, 1, M), maskGradient: true },
  'mask of every head': { mask: biases(6, H, N, M), maskGradient: true },
  keyLengths: { keyLengths: [33, 2] },
  alibi: { alibiSlopes: tensor(7, H) },
  sinks: { sinks: tensor(8, H) },
  dropout: { dropout: { probability: 0.3, seed: 2 ** 40 + 11 } },
};
const names = Object.keys(OPTIONS);
const pairs = names.flatMap((a, i) => names.slice(i).map((b) => (a === b ? [a, a] : [a, b]) as readonly [string, string]));

const INPUTS: BackwardInputs = {
  q: tensor(1, B, H, N, D),
  k: tensor(2, B, Hk, M, D),
  v: tensor(3, B, Hk, M, Dv),
  gradient: tensor(4, B, H, N, Dv),
};

interface How {
  readonly roundings?: number;
  readonly tiers?: readonly BackwardTier[];
}

/** Expects the reference's gradients of every tier. */
async function expectGradients(on: Attention, inputs: BackwardInputs, options: ReferenceBackwardOptions, how: How = {}) {
  const { roundings = 1, tiers = backwardTiersOf(on.device, Dv) } = how;
  const expected = expectedOf(inputs, options);
  for (const tier of tiers) {
    const got = await gradientsOn(on, inputs, options, tier);
    for (const [name, { shape }] of Object.entries(expected)) expect(got[name]!.shape, name).toEqual(shape);
    expectWithin(`${tier.name} gradient`, dataOf(got), dataOf(expected), WITHIN, roundings);
  }
}

const copyOf = ({ data, shape }: HostTensor) => ({ data: data.slice(), shape });

/** The same bits. The row kernels add up the steps in which there is a NaN at the end, in another order: the same but for rounding. */
function expectUntouched({ name }: BackwardTier, got: object, clean: object) {
  if (name === 'row') expectWithin(`${name} gradient`, dataOf(got), dataOf(clean), 1e-6);
  else expect(dataOf(got), name).toEqual(dataOf(clean));
}

onDevices('backward', (attention) => {
  test.each(pairs)('%s and %s', async (a, b) => {
    const tiers = backwardTiersOf(attention().device, Dv);
    const general = tiers.map((tier) => ({ ...tier, variant: withEveryFlag(tier.variant) }));
    await expectGradients(attention(), INPUTS, { ...OPTIONS[a], ...OPTIONS[b] }, { tiers: a === b ? tiers : general }); // pairs share pipelines
  });

  test('a mask of f16, odd rows of it and elements that exclude among them', async () => {
    const values = Array.from({ length: N * M }, (_, i) => (i % 5 === 2 ? -Infinity : ((7 * i) % 16) / 4)); // f16 has them exactly
    const options = { mask: { data: Float32Array.from(values), shape: [N, M] } };
    for (const tier of backwardTiersOf(attention().device, Dv)) {
      const got = await gradientsOn(attention(), INPUTS, options, tier, 'f16');
      expectWithin(`${tier.name} gradient`, dataOf(got), dataOf(expectedOf(INPUTS, options)), WITHIN);
    }
  });

  test.each([
    ['softcap', {}],
    ['alibi', {}],
    ['dropout', {}],
    ['softcap', { ...OPTIONS.alibi, ...OPTIONS.dropout }],
    ['alibi', { keyLengths: [24, 9] }],
  ])('%s and %o where every query sees every key, in whole steps', async (name, more) => {
    const inputs = {
      q: tensor(1, B, H, 20, D),
      k: tensor(2, B, Hk, 24, D),
      v: tensor(3, B, Hk, 24, Dv),
      gradient: tensor(4, B, H, 20, Dv),
    };
    for (const rows of [1, 4])
      await expectGradients(attention(), inputs, { ...OPTIONS[name], ...more }, { tiers: backwardTiersOf(attention().device, Dv, rows) });
  });

  test.each([
    ['a score', [1, 4], -1e19, { scale: 1 }],
    ['ALiBi', [1], 0, { alibiSlopes: { data: Float32Array.of(3.2e38), shape: [1] }, causalOffset: 1 }],
  ])('%s so low that it excludes gives gradients of exactly 0', async (_, lengths, key, options) => {
    const host = (value: number, length: number) => ({ data: new Float32Array(length).fill(value), shape: [1, 1, length, 1] });
    for (const length of lengths) {
      const inputs = { q: host(3.2e19, 1), k: host(key, length), v: host(1, length), gradient: host(1, 1) };
      for (const { data } of Object.values(expectedOf(inputs, options))) expectZeros('the reference', data);
      for (const tier of backwardTiersOf(attention().device, Dv)) {
        const got = await gradientsOn(attention(), inputs, options, tier);
        for (const [name, { data }] of Object.entries(got)) expectZeros(`${tier.name}: ${name}`, data);
      }
    }
  });

  test('forward and backward as auto chooses them', async () => {
    const options = { ...OPTIONS.softcap, ...OPTIONS.window, ...OPTIONS.sinks };
    expectWithin('gradient', dataOf(await gradientsOn(attention(), INPUTS, options)), dataOf(expectedOf(INPUTS, options)), WITHIN);
  });

  // s = q kᵀ = [0 0; 0 ln 3], P = [1/2 1/2; 1/4 3/4], v = [1; 0], out = [1/2; 1/4], dO = [1; 2].
  // dv = Pᵀ dO = [1/2 + 2/4; 1/2 + 6/4] = [1; 2]. delta = [1/2; 1/2], dP = dO vᵀ = [1 0; 2 0], dS = P (dP − delta) = [1/4 −1/4; 3/8 −3/8].
  // dq = dS k with k = [0; 1]: [−1/4; −3/8]. dk = dSᵀ q with q = [0; ln 3]: [3/8 ln 3; −3/8 ln 3].
  test('2×2 by hand', async () => {
    const host = (data: number[]) => ({ data: Float32Array.from(data), shape: [1, 1, 2, 1] });
    const ln3 = Math.log(3);
    const inputs = { q: host([0, ln3]), k: host([0, 1]), v: host([1, 0]), gradient: host([1, 2]) };
    const got = await gradientsOn(attention(), inputs, { scale: 1 });
    const expected = { q: [-1 / 4, -3 / 8], k: [(3 / 8) * ln3, (-3 / 8) * ln3], v: [1, 2] };
    expectWithin('gradient', dataOf(got), expected, 1e-6);
  });

  test('twice the same bits', async () => {
    for (const tier of backwardTiersOf(attention().device, Dv)) {
      const options = { ...OPTIONS.sinks, ...OPTIONS['additive mask'], ...OPTIONS.dropout };
      const [a, b] = [await gradientsOn(attention(), INPUTS, options, tier), await gradientsOn(attention(), INPUTS, options, tier)];
      expect(dataOf(a)).toEqual(dataOf(b));
    }
  });
});

onDevices('backward, sums and tiles', (attention) => {
  describe('the gradient of a mask is summed over what the mask repeats', () => {
    // dS of a row adds up to 0 without a sink: what is left of a sum is its roundings, which grow with the square root of the terms.
    const axes = [B, H, N, M];
    const shapes = Array.from({ length: 16 }, (_, bits) => axes.map((size, axis) => ((bits >> axis) & 1 ? size : 1)));
    test.each([...shapes, [M], [N, 1], [1, M], [H, 1, 1]].map((shape) => [shape]))('%j', async (shape) => {
      for (const options of [{}, { sinks: tensor(8, H), isCausal: true, causalOffset: 5, dropout: { probability: 0.3, seed: 5 } }])
        await expectGradients(
          attention(),
          INPUTS,
          { ...options, mask: tensor(17, ...shape), maskGradient: true },
          { roundings: Math.sqrt(count(axes)) },
        );
    });

    test('over several tiles, with sinks and with a window', async () => {
      const inputs = {
        q: tensor(1, 1, 2, 67, 3),
        k: tensor(2, 1, 1, 101, 3),
        v: tensor(3, 1, 1, 101, 3),
        gradient: tensor(4, 1, 2, 67, 3),
      };
      for (const shape of [[67, 101], [101], [67, 1], [2, 1, 1]]) {
        await expectGradients(
          attention(),
          inputs,
          { mask: tensor(17, ...shape), maskGradient: true, sinks: tensor(8, 2) },
          { roundings: Math.sqrt(2 * 67 * 101) },
        );
        await expectGradients(
          attention(),
          inputs,
          { mask: tensor(17, ...shape), maskGradient: true, window: [40, 2], causalOffset: 30 },
          { roundings: Math.sqrt(2 * 67 * 101) },
        );
      }
    });
  });

  test.each([
    [0, true],
    [70, true],
    [-40, false],
    [9, false],
  ] as const)('bands over several tiles: causalOffset %d, causal %j', async (causalOffset, isCausal) => {
    const inputs = { q: tensor(1, 1, 2, 97, 3), k: tensor(2, 1, 1, 131, 3), v: tensor(3, 1, 1, 131, 3), gradient: tensor(4, 1, 2, 97, 3) };
    await expectGradients(attention(), inputs, { causalOffset, ...(isCausal ? { isCausal } : { window: [35, 33] }) });
  });

  // With tiles of 32 the last query that sees the first keys, and the last key that the first queries see, are alone in their tiles.
  test('bands that end with one element of a tile, and a mask', async () => {
    const inputs = { q: tensor(1, 1, 2, 97, 3), k: tensor(2, 1, 1, 131, 3), v: tensor(3, 1, 1, 131, 3), gradient: tensor(4, 1, 2, 97, 3) };
    await expectGradients(attention(), inputs, {
      causalOffset: 1,
      window: [34, 32],
      mask: tensor(17, 97, 131),
      maskGradient: true,
    });
  });
});

onDevices('backward, what nothing sees', (attention) => {
  test('a row that sees no key has gradients of exactly 0, and what lies there does not matter', async () => {
    for (const tier of backwardTiersOf(attention().device, Dv)) {
      const mask = { data: new Uint8Array(N * M).fill(1), shape: [N, M] };
      mask.data.fill(0, 2 * M, 3 * M); // query 2 sees nothing
      const inputs = { ...INPUTS, q: copyOf(INPUTS.q), gradient: copyOf(INPUTS.gradient) };
      const clean = await gradientsOn(attention(), inputs, { mask }, tier);
      const row = (width: number) => [(N + 2) * width, (N + 3) * width] as const; // of head 1
      expect([...clean.q!.data.slice(...row(D))]).toEqual(new Array(D).fill(0));
      inputs.q.data.fill(Number.NaN, ...row(D));
      inputs.gradient.data.fill(Number.NaN, ...row(Dv));
      expectUntouched(tier, await gradientsOn(attention(), inputs, { mask }, tier), clean);
    }
  });

  test.each([
    ['a mask', { mask: { data: Uint8Array.from({ length: M }, (_, m) => Number(m !== 5)), shape: [M] } }],
    [
      'an additive mask',
      { mask: { data: Float32Array.from({ length: M }, (_, m) => (m === 5 ? -Infinity : m / M)), shape: [M] }, maskGradient: true },
    ],
    ['the position', { isCausal: true, causalOffset: 5 - N }],
    ['the lengths', { keyLengths: [5, 5] }],
  ])('NaN in a key that %s excludes reaches nothing', async (_, options) => {
    for (const tier of backwardTiersOf(attention().device, Dv)) {
      const inputs = { ...INPUTS, k: copyOf(INPUTS.k), v: copyOf(INPUTS.v) };
      const clean = await gradientsOn(attention(), inputs, options, tier);
      const key = (head: number, width: number) => [(head * M + 5) * width, (head * M + 6) * width] as const;
      for (let head = 0; head < B * Hk; head++) {
        inputs.k.data.fill(Number.NaN, ...key(head, D));
        inputs.v.data.fill(Number.NaN, ...key(head, Dv));
        expect([...clean.k!.data.slice(...key(head, D)), ...clean.v!.data.slice(...key(head, Dv))]).toEqual(new Array(D + Dv).fill(0));
      }
      expectUntouched(tier, await gradientsOn(attention(), inputs, options, tier), clean);
    }
  });

  test('no key exists', async () => {
    for (const tier of backwardTiersOf(attention().device, Dv)) {
      const got = await gradientsOn(attention(), INPUTS, { keyLengths: [0, 0] }, tier);
      for (const { data } of Object.values(got)) expectZeros(tier.name, data);
    }
  });
});
