/** The option `variant`: its types, its errors, and that what a plan reports can be passed back in. */
import { describe, expect, test } from 'vitest';
import type { Attention, AttentionOptions, AttentionProblem, KernelVariants, PlannedKernel, Tuning } from '../../src/index.ts';
import { basicFacts } from '../../src/tiles/facts.ts';
import { chooseFusedTiles } from '../../src/tiles/fused.ts';
import { onDevices } from '../rig/gpu.ts';
import { problemOf } from '../rig/kernel.ts';
import { attention, type Case, check, k, layout, q, sdpa, useTensors, v } from './bad-input.ts';

/** Never called: `npm run check` compiles it. */
export async function types(on: Attention, problem: AttentionProblem, tuning: Tuning): Promise<void> {
  await on.plan({ ...problem, variant: { flash_decode: { SPLITS: 2, VEC4: true, K: 'f16' }, flash_backward_dq: {} } });
  const split: AttentionOptions = { variant: { flash_decode: { SPLITS: 2 } } };
  const made = await on.scaledDotProductAttention({} as never, {} as never, {} as never, split);
  await on.backward(made.out, {} as never, { variant: { flash_backward_dkv_quad: { PARTS: 2 } } });
  for (const { variant } of Object.values(tuning.fastest)) await on.plan({ ...problem, variant });
  // @ts-expect-error: a kernel that there is not
  await on.plan({ ...problem, variant: { flash: { SPLITS: 2 } } });
  // @ts-expect-error: a constant that the kernel does not have
  await on.plan({ ...problem, variant: { flash_decode: { TILE_N: 16 } } });
  // @ts-expect-error: a number in place of a flag
  await on.plan({ ...problem, variant: { flash_decode: { VEC4: 1 } } });
  // @ts-expect-error: a type that no tensor of numbers has
  await on.plan({ ...problem, variant: { flash_decode: { Q: 'u32' } } });
  // @ts-expect-error: the name of a constant in place of a kernel's
  await on.plan({ ...problem, variant: { 'flash_decode.SPLITS': 2 } });
  // @ts-expect-error: a kernel that has no constants to force
  await on.scaledDotProductAttention(made.out, made.out, made.out, { variant: { flash_merge: {} } });
  // @ts-expect-error: a constant of another kernel of the backward pass
  await on.backward(made.out, {} as never, { variant: { flash_backward_dq_quad: { PARTS: 2 } } });
  // @ts-expect-error: a tuning with a constant that there is not
  tuning satisfies { fastest: Record<string, { variant: { flash_decode?: { SPLIT: number } } }> };
}

useTensors();

const FUSED = 'known here are flash_forward, flash_forward_quad, flash_forward_row, flash_decode';
const caller = 'scaledDotProductAttention: variant';
const explicit = (variant: object) => sdpa(q, k, v, { algorithm: 'explicit', variant });
const fused = (variant: unknown) => sdpa(q, k, v, { variant });
const backward = (variant: object) => attention.plan({ q, k, v, backward: true, variant });

const NAMES: Case[] = [
  ['a variant that is none', 'option', `${caller} is 5: need an object`, () => fused(5)],
  ['a list of kernels', 'option', `${caller} is ["flash_decode"]: need an object`, () => fused(['flash_decode'])],
  ['an unknown kernel', 'option', `${caller}: unknown kernel "flash": ${FUSED}`, () => fused({ flash: { SPLITS: 2 } })],
  ['a dotted name', 'option', `${caller}: unknown kernel "flash_decode.SPLITS": ${FUSED}`, () => fused({ 'flash_decode.SPLITS': 2 })],
  ['a kernel of the other algorithm', 'option', `${caller}: unknown kernel "scores": ${FUSED}`, () => fused({ scores: {} })],
  ['a kernel of a prototype', 'option', 'unknown kernel "constructor"', () => fused({ constructor: {} })],
  [
    'a fused kernel for explicit',
    'option',
    'unknown kernel "flash_decode": known here are scores, softmax, context',
    () => explicit({ flash_decode: {} }),
  ],
  [
    'two fused kernels',
    'option',
    'flash_decode is forced beside flash_forward: need one kernel for each result',
    () => fused({ flash_decode: {}, flash_forward: {} }),
  ],
  [
    'two kernels for one gradient',
    'option',
    'plan: variant: flash_backward_dq is forced beside flash_backward_dq_row,',
    () => backward({ flash_backward_dq_row: {}, flash_backward_dq: {} }),
  ],
  ['the gradient of no mask', 'option', 'unknown kernel "flash_backward_mask"', () => backward({ flash_backward_mask: {} })],
  ['a kernel whose constants are none', 'option', 'scores is 16: need an object of its constants, Q, K,', () => explicit({ scores: 16 })],
  [
    'a list of constants',
    'option',
    'softmax is ["ROWS"]: need an object of its constants, LANES, ROWS',
    () => explicit({ softmax: ['ROWS'] }),
  ],
  ['an unknown constant', 'option', 'softmax has no constant "TILE_N": known are LANES, ROWS', () => explicit({ softmax: { TILE_N: 16 } })],
  ['a constant of a prototype', 'option', 'softmax has no constant "toString"', () => explicit({ softmax: { toString: 1 } })],
];

const VALUES: Case[] = [
  ['a BigInt', 'option', 'scores.TILE_N is 16n: need an integer ≥ 1', () => explicit({ scores: { TILE_N: 16n } })],
  ['a BigInt of which others follow', 'option', 'LANES is 2n: need an integer ≥ 1', () => fused({ flash_decode: { LANES: 2n } })],
  ['SPLITS that are a symbol', 'option', 'SPLITS is Symbol(2): need', () => fused({ flash_decode: { SPLITS: Symbol('2') } })],
  ['a BigInt of blocks', 'option', 'D_BLOCKS is 4n: need', () => fused({ flash_forward_row: { D_BLOCKS: 4n } })],
  ['0', 'option', 'scores.TILE_N is 0: need an integer ≥ 1', () => explicit({ scores: { TILE_N: 0 } })],
  ['null', 'option', 'scores.TILE_N is null: need an integer ≥ 1', () => explicit({ scores: { TILE_N: null } })],
  ['a flag that is a number', 'option', 'scores.DIRECT is 1: need true or false', () => explicit({ scores: { DIRECT: 1 } })],
  [
    'a type that the tensors do not have',
    'option',
    'scores.Q is "f16": need "f32", the tensors\' type',
    () => explicit({ scores: { Q: 'f16' } }),
  ],
  ['keys that a tile has no whole number of', 'option', 'KEYS=5', () => fused({ flash_forward: { KEYS: 5 } })],
  ['five blocks', 'option', 'BLOCKS ≤ 4', () => fused({ flash_forward: { BLOCKS: 5 } })],
  ['a tile of 6 keys', 'option', 'TILE_M=6', () => fused({ flash_forward: { TILE_M: 6 } })],
  [
    'dropout that is needed, forced off',
    'option',
    'DROPOUT is false',
    () => sdpa(q, k, v, { dropout: { probability: 0.5, seed: 1 }, variant: { flash_forward: { DROPOUT: false } } }),
  ],
  [
    'a mask that NaN would come through',
    'option',
    'SKIP_ZEROS is false',
    () => sdpa(q, k, v, { isCausal: true, variant: { flash_forward: { SKIP_ZEROS: false } } }),
  ],
  ['a tile that blocks do not divide', 'option', 'TILE_N=18', () => explicit({ scores: { TILE_N: 18 } })],
  ['three blocks', 'option', 'ROWS=3', () => explicit({ scores: { TILE_N: 48, ROWS: 3 } })],
  ['slots that share memory', 'option', 'SLOTS=2', () => explicit({ context: { SLOTS: 2, DIRECT: false } })],
  ['lanes that are no power of 2', 'option', '12', () => explicit({ softmax: { LANES: 12 } })],
  ['tiles too large', 'limit', '1024', () => explicit({ scores: { TILE_N: 128, TILE_M: 128, ROWS: 1, COLS: 1 } })],
];

describe.each(Object.entries({ NAMES, VALUES }))('%s', (_, cases) => {
  test.each(cases)('%s: %s, quotes %s', (...parts) => check(parts));
});

test('a kernel alone has its own values, and what is undefined is not forced', async () => {
  const problem = { q: layout(1, 1, 8, 4), k: layout(1, 1, 8, 4), v: layout(1, 1, 8, 4) };
  const plan = await attention.plan({ ...problem, variant: { flash_decode: { SPLITS: undefined }, flash_forward: undefined } });
  expect(plan.kernels).toMatchObject([{ name: 'flash_decode', variant: { SPLITS: 1 } }]);
  expect(plan.kernels[0]!.reason).toContain('forced by variant');
  plan.destroy();
});

test('a later change of the object changes nothing', async () => {
  const own = { TILE_N: 16 };
  const made = attention.plan({ q, k, v, variant: { flash_forward: own } });
  own.TILE_N = 64;
  const plan = await made;
  expect(plan.kernels[0]!.variant.TILE_N).toBe(16);
  plan.destroy();
});

/** Kernels that only prepare a table or join what others left. */
const HELPERS = ['heads', 'flash_merge', 'flash_backward_delta', 'flash_backward_sinks'];
const variantOf = (kernels: readonly PlannedKernel[]): KernelVariants =>
  Object.fromEntries(kernels.filter(({ name }) => !HELPERS.includes(name)).map(({ name, variant }) => [name, variant]));

onDevices('what a plan reports', (on) => {
  const problem = (N: number, M: number): AttentionProblem => ({
    ...{ q: layout(1, 2, N, 16), k: layout(1, 2, M, 16), v: layout(1, 2, M, 16) },
    sinks: true,
  });
  const additive = { mask: layout(1, 40), maskGradient: true };

  test.for([
    ['fused', problem(40, 40)],
    ['explicit', { ...problem(40, 40), algorithm: 'explicit', returnScores: 'raw' }],
    ['explicit, few queries', { ...problem(1, 40), algorithm: 'explicit' }],
    ['one query', problem(1, 40)],
    ['one query over split keys', problem(1, 4096)],
    ['gradients', { ...problem(40, 40), ...additive, backward: true, dropout: { probability: 0.5, seed: 1 } }],
  ] as [string, AttentionProblem][])('%s: can be passed back in', async ([, asked]) => {
    const planned = async (given: AttentionProblem) => {
      const plan = await on().plan(given);
      plan.destroy();
      return plan.kernels.map(({ name, variant }) => ({ name, variant }));
    };
    const first = await on().plan(asked);
    first.destroy();
    const kernels = first.kernels.map(({ name, variant }) => ({ name, variant }));
    expect(await planned({ ...asked, variant: variantOf(first.kernels) })).toEqual(kernels);
  });
});

test('f16 whose keys are split has parts of f32, also when that is passed back in', () => {
  const facts = { ...basicFacts(attention.device), hasQuads: false };
  const split = problemOf({ N: 1, M: 4096, D: 64, Dv: 64 }, {}, 'f16');
  const { kernel, variant } = chooseFusedTiles(split, facts);
  expect([kernel, variant]).toMatchObject(['flash_decode', { Q: 'f16', O: 'f32' }]);
  expect(chooseFusedTiles({ ...split, variant: { flash_decode: variant } }, facts).variant).toEqual(variant);
});
