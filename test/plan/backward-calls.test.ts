/** Calls of backward, encodeBackward and projectBackward: wrong ones, and what plans say of themselves. */
import { describe, expect, test } from 'vitest';
import type { AttentionError, AttentionProblem, BackwardTensors, GpuTensor } from '../../src/index.ts';
import {
  attention,
  type Case,
  device,
  expectAttentionError,
  k,
  layout,
  other,
  q,
  raw,
  released,
  useTensors,
  v,
} from '../contract/bad-input.ts';
import { runPass } from '../rig/gpu.ts';

useTensors();

const zeros = (...shape: number[]): GpuTensor => ({
  ...layout(...shape),
  buffer: raw(4 * shape.reduce((a, b) => a * b), GPUBufferUsage.STORAGE),
});
const forward = (change: object = {}) => ({ q, k, v, out: zeros(2, 4, 3, 7), lse: zeros(2, 4, 3), ...change });
const gradient = (...shape: number[]) => zeros(...(shape.length > 0 ? shape : [2, 4, 3, 7]));
const mask = (dtype: 'f32' | 'bool'): GpuTensor => ({ ...zeros(3, 6), dtype });

const CALLS: Case[] = [
  ['no gradient', 'option', 'gradient is missing', () => attention.backward(undefined as never, forward())],
  ['a forward pass that is none', 'option', 'forward is null', () => attention.backward(gradient(), null as never)],
  ['no log-sum-exp', 'option', 'lse is missing', () => attention.backward(gradient(), forward({ lse: undefined }))],
  [
    'a gradient of another shape',
    'shape',
    'backward: gradient is [2,4,3,5]: need [2,4,3,7]',
    () => attention.backward(gradient(2, 4, 3, 5), forward()),
  ],
  ['a gradient of another type', 'dtype', 'need f32', () => attention.backward({ ...gradient(), dtype: 'f16' }, forward())],
  ['out of another shape', 'shape', 'out is [2,4,3,5]', () => attention.backward(gradient(), forward({ out: zeros(2, 4, 3, 5) }))],
  ['lse of another shape', 'shape', 'lse is [2,4,6]: need [2,4,3]', () => attention.backward(gradient(), forward({ lse: zeros(2, 4, 6) }))],
  ['lse as u32', 'dtype', 'u32', () => attention.backward(gradient(), forward({ lse: { ...zeros(2, 4, 3), dtype: 'u32' } }))],
  ['keys of another size', 'shape', 'backward: k is', () => attention.backward(gradient(), forward({ k: { ...k, shape: [2, 2, 5, 6] } }))],
  ['a released tensor', 'option', 'was released', () => attention.backward(gradient(), forward({ k: released }))],
  ['an unknown option', 'option', '"dropot"', () => attention.backward(gradient(), forward(), { dropot: 1 } as object)],
  ['options that are none', 'option', 'null', () => attention.backward(gradient(), forward(), null as never)],
  ['scores', 'option', 'returnScores is "masked"', () => attention.backward(gradient(), forward(), { returnScores: 'masked' })],
  ['maskGradient without a mask', 'option', 'mask is undefined', () => attention.backward(gradient(), forward(), { maskGradient: true })],
  [
    'maskGradient of a boolean mask',
    'option',
    'mask is bool [1,1,3,6]',
    () => attention.backward(gradient(), forward(), { mask: mask('bool'), maskGradient: true }),
  ],
  ['maskGradient that is no boolean', 'option', '1', () => attention.backward(gradient(), forward(), { maskGradient: 1 as never })],
  [
    'a variant of the forward pass',
    'option',
    'unknown kernel "flash_forward": known here are flash_backward_dq_row',
    () => attention.backward(gradient(), forward(), { variant: { flash_forward: { TILE_N: 16 } } }),
  ],
  [
    'a tile that does not fit',
    'option',
    'KEYS',
    () => attention.backward(gradient(), forward(), { variant: { flash_backward_dq: { KEYS: 5 } } }),
  ],
  [
    'too many blocks',
    'option',
    'BLOCKS ≤ 2',
    () => attention.backward(gradient(), forward(), { variant: { flash_backward_dkv: { BLOCKS: 3 } } }),
  ],
  ['a plan for 1', 'option', 'backward is 1', () => attention.plan({ q, k, v, backward: 1 as never })],
  ['a plan with maskGradient alone', 'option', 'backward is undefined', () => attention.plan({ q, k, v, maskGradient: true })],
  ['a plan with an unknown layout', 'option', '"dout"', () => attention.plan({ q, k, v, backward: { dout: q } as object })],
  ['a plan with another dq', 'shape', 'plan: dq is [2,4,3,6]', () => attention.plan({ q, k, v, backward: { dq: layout(2, 4, 3, 6) } })],
  ['a plan with dMask alone', 'option', 'dMask', () => attention.plan({ q, k, v, backward: { dMask: layout(3, 6) } })],
  [
    'a plan with an overlapping dk',
    'shape',
    'overlap',
    () => attention.plan({ q, k, v, backward: { dk: { ...layout(2, 2, 6, 5), strides: [60, 30, 4, 1] } } }),
  ],
  ['tuning backward', 'option', 'only plan takes it', () => attention.tune({ q, k, v, backward: true })],
  ['a projection gradient of another shape', 'shape', 'need a gradient of [2,4,3,2]', () => attention.projectBackward(q, q, zeros(5, 2))],
  [
    'a projection gradient of a released x',
    'option',
    'was released',
    () => attention.projectBackward(zeros(2, 2, 6, 2), released, zeros(5, 2)),
  ],
];

const encode = async (change: object, problem: Partial<AttentionProblem> = {}) => {
  const made = await attention.plan({ q, k, v, backward: true, ...problem });
  const tensors = { ...forward(), gradient: gradient(), dq: zeros(2, 4, 3, 5), dk: zeros(2, 2, 6, 5), dv: zeros(2, 2, 6, 7) };
  const workspace = raw(made.workspaceBytes, GPUBufferUsage.STORAGE);
  made.encodeBackward({} as GPUComputePassEncoder, { ...tensors, workspace, ...change } as BackwardTensors);
};
const ENCODE: Case[] = [
  ['no tensors', 'option', 'dq is missing', () => encode({ dq: undefined })],
  ['no workspace', 'option', 'workspace is missing', () => encode({ workspace: undefined })],
  ['a workspace too small', 'shape', 'its buffer has 16', () => encode({ workspace: raw(16, GPUBufferUsage.STORAGE) })],
  ['other strides', 'shape', 'encodeBackward: dq is', () => encode({ dq: { ...zeros(2, 4, 3, 5), strides: [60, 5, 20, 1] } })],
  ['dMask that was not planned', 'option', 'got dMask', () => encode({ dMask: zeros(3, 6) })],
  ['dMask missing', 'option', 'dMask is missing', () => encode({ mask: mask('f32') }, { mask: layout(3, 6), maskGradient: true })],
  ['dSinks missing', 'option', 'dSinks is missing', () => encode({ sinks: zeros(4) }, { sinks: true })],
  ['a tensor nobody knows', 'option', '"dout"', () => encode({ dout: q })],
  ['a tensor of another Attention', 'option', 'another Attention', () => encode({ gradient: other.empty([2, 4, 3, 7]) })],
  [
    'dk in the buffer of k',
    'option',
    'dk shares its GPUBuffer with k',
    () => {
      const buffer = raw(8192, GPUBufferUsage.STORAGE);
      return encode({ k: { ...k, buffer }, dk: { ...layout(2, 2, 6, 5), offset: 4096, buffer } });
    },
  ],
  [
    'workspace in the buffer of dq',
    'option',
    'shares its GPUBuffer',
    () => {
      const buffer = raw(8192, GPUBufferUsage.STORAGE);
      return encode({ dq: { ...layout(2, 4, 3, 5), offset: 4096, buffer }, workspace: buffer });
    },
  ],
];

describe('bad calls', () => {
  test.each(CALLS)('backward: %s', async (...wrong) => expectAttentionError(wrong));
  test.each(ENCODE)('encodeBackward: %s', async (...wrong) => expectAttentionError(wrong));

  test('a destroyed plan', async () => {
    const made = await attention.plan({ q, k, v, backward: true });
    made.destroy();
    expect(() => made.encodeBackward({} as GPUComputePassEncoder, {} as BackwardTensors)).toThrow(
      expect.objectContaining<Partial<AttentionError>>({ code: 'device-lost' }),
    );
  });
});

test('a plan names the kernels of both directions, and takes the larger workspace', async () => {
  const made = await attention.plan({ q, k, v, sinks: true, alibiSlopes: true, mask: layout(3, 6), maskGradient: true, backward: true });
  expect(made.kernels.map(({ name }) => name).slice(-5)).toEqual(
    ['delta', 'dq', 'dkv', 'mask', 'sinks'].map((name) => `flash_backward_${name}`),
  );
  expect(made.workspaceBytes).toBe(2 * 4 * 3 * 16);
  made.destroy();
});

test('dq, dk and dv may lie side by side in one buffer', async () => {
  const made = await attention.plan({ q, k, v, backward: true });
  const buffer = raw(4096, GPUBufferUsage.STORAGE);
  const inBuffer = (offset: number, ...shape: number[]) => ({ ...layout(...shape), offset, buffer });
  const outputs = { dq: inBuffer(0, 2, 4, 3, 5), dk: inBuffer(1024, 2, 2, 6, 5), dv: inBuffer(2048, 2, 2, 6, 7) };
  const workspace = raw(made.workspaceBytes, GPUBufferUsage.STORAGE);
  await runPass(device, (pass) => made.encodeBackward(pass, { ...forward(), gradient: gradient(), ...outputs, workspace }));
  made.destroy();
});

test('the variant of a plan reaches its direction', async () => {
  const variant = { flash_forward: { TILE_N: 16 }, flash_backward_dq: { TILE_N: 64 }, flash_backward_dkv: { TILE_M: 64 } };
  const problem = { q: layout(1, 1, 40, 8), k: layout(1, 1, 40, 8), v: layout(1, 1, 40, 8), backward: true as const, variant };
  const made = await attention.plan({ ...problem, algorithm: 'fused' });
  const of = (name: string) => made.kernels.find((kernel) => kernel.name === name)!;
  expect([of('flash_forward').variant.TILE_N, of('flash_backward_dq').variant.TILE_N, of('flash_backward_dkv').variant.TILE_M]).toEqual([
    16, 64, 64,
  ]);
  expect(of('flash_backward_dq').reason).toBe('forced by variant');
  made.destroy();
});
