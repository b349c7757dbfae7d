/** The shader's text and its TypeScript twin declare the same bindings and the same uniforms, in the same order. */
import { describe, expect, test } from 'vitest';
import { normalizeAdam } from '../../src/contract/adam-options.ts';
import { normalizeBackward } from '../../src/contract/backward-problem.ts';
import { dense } from '../../src/contract/tensor.ts';
import type { Dispatch } from '../../src/gpu/kernel.ts';
import { adam, adamDispatch } from '../../src/kernels/adam.ts';
import { context, contextDispatch } from '../../src/kernels/context.ts';
import { crossEntropy, crossEntropyDispatch } from '../../src/kernels/cross_entropy.ts';
import { embedding, embeddingDispatch } from '../../src/kernels/embedding.ts';
import { embeddingBackward, embeddingBackwardDispatch } from '../../src/kernels/embedding_backward.ts';
import { flashBackwardDelta, flashBackwardDeltaDispatch } from '../../src/kernels/flash_backward_delta.ts';
import { flashBackwardDkv, flashBackwardDkvDispatch } from '../../src/kernels/flash_backward_dkv.ts';
import { flashBackwardDkvQuad, flashBackwardDkvQuadDispatch } from '../../src/kernels/flash_backward_dkv_quad.ts';
import { flashBackwardDkvRow, flashBackwardDkvRowDispatch } from '../../src/kernels/flash_backward_dkv_row.ts';
import { flashBackwardDq, flashBackwardDqDispatch } from '../../src/kernels/flash_backward_dq.ts';
import { flashBackwardDqQuad, flashBackwardDqQuadDispatch } from '../../src/kernels/flash_backward_dq_quad.ts';
import { flashBackwardDqRow, flashBackwardDqRowDispatch } from '../../src/kernels/flash_backward_dq_row.ts';
import { flashBackwardMask, flashBackwardMaskDispatch } from '../../src/kernels/flash_backward_mask.ts';
import { flashBackwardSinks, flashBackwardSinksDispatch } from '../../src/kernels/flash_backward_sinks.ts';
import { flashDecode, flashDecodeDispatch } from '../../src/kernels/flash_decode.ts';
import { flashForward, flashForwardDispatch } from '../../src/kernels/flash_forward.ts';
import { flashForwardQuad, flashForwardQuadDispatch } from '../../src/kernels/flash_forward_quad.ts';
import { flashForwardRow, flashForwardRowDispatch } from '../../src/kernels/flash_forward_row.ts';
import { flashMerge, flashMergeDispatch, normalizeParts, type Part } from '../../src/kernels/flash_merge.ts';
import { heads, headsDispatch } from '../../src/kernels/heads.ts';
import { normalizeProjection, project, projectDispatch } from '../../src/kernels/project.ts';
import { quadProbe } from '../../src/kernels/quad_probe.ts';
import { scores, scoresDispatch } from '../../src/kernels/scores.ts';
import { softmax, softmaxDispatch } from '../../src/kernels/softmax.ts';
import { problemOf } from '../rig/kernel.ts';

const problem = problemOf({ N: 2, M: 2 });
const [part] = normalizeParts([{ out: { shape: [1, 1, 2, 2], dtype: 'f32' }, lse: { shape: [1, 1, 2], dtype: 'f32' } }]) as [Part];
const backward = normalizeBackward('test', problem, {});
const matrix = { shape: [2, 2], dtype: 'f32' as const };
const DISPATCHES: readonly Dispatch[] = [
  scoresDispatch(problem, {}, 256, 'masked'),
  softmaxDispatch(problem, {}, 256),
  headsDispatch(problem, 256),
  flashForwardDispatch(problem, {}, 256),
  flashForwardQuadDispatch(problem, {}, 256),
  flashForwardRowDispatch(problem, {}, 256),
  flashDecodeDispatch(problem, { SPLITS: 1, ROWS: 1 }, 256),
  flashBackwardDeltaDispatch(backward, 256, 65535),
  flashBackwardDqDispatch(backward, {}, 256),
  flashBackwardDqQuadDispatch(backward, {}, 256),
  flashBackwardDqRowDispatch(backward, {}, 256),
  flashBackwardDkvDispatch(backward, {}, 256),
  flashBackwardDkvQuadDispatch(backward, {}, 256),
  flashBackwardDkvRowDispatch(backward, {}, 256),
  flashBackwardMaskDispatch(backward, {}, 256),
  flashBackwardSinksDispatch(backward, 256),
  { kernel: quadProbe, variant: {}, params: [], grid: [4, 1, 1] },
  flashMergeDispatch(part, part, 'f32', 256, 65535),
  contextDispatch(problem, {}, 256),
  projectDispatch(normalizeProjection(matrix, matrix, undefined), {}, 256),
  embeddingDispatch({ tokens: dense([1, 1]), table: dense([1, 1]), positions: dense([1, 1]), x: dense([1, 1, 1]) }, 256),
  embeddingBackwardDispatch({ tokens: dense([1, 1]), dx: dense([1, 1, 1]), table: dense([1, 1]), positions: dense([1, 1]) }, 256),
  crossEntropyDispatch(
    { logits: dense([1, 1]), targets: dense([1]), losses: dense([1]), gradient: undefined, divisor: 1 },
    { ROWS: 1 },
    256,
  ),
  adamDispatch({ first: 0, count: 1 }, 1, 1, normalizeAdam('test')),
];
const files = Object.keys(import.meta.glob('../../shaders/*.wgsl'));

test('every shader has its kernel here', () => {
  expect(files.map((file) => file.match(/(\w+)\.wgsl$/)![1]).sort()).toEqual(
    [
      ...[scores, softmax, context, project, heads, flashForward, flashForwardQuad, flashForwardRow, flashDecode, flashMerge, quadProbe],
      ...[
        flashBackwardDelta,
        flashBackwardDq,
        flashBackwardDkv,
        flashBackwardDkvQuad,
        flashBackwardDkvRow,
        flashBackwardDqQuad,
        flashBackwardDqRow,
        flashBackwardMask,
        flashBackwardSinks,
      ],
      ...[embedding, embeddingBackward, crossEntropy, adam],
    ]
      .map(({ name }) => name)
      .sort(),
  );
});

describe.each(DISPATCHES.map((dispatch) => [dispatch.kernel.name, dispatch] as const))('%s', (_, { kernel, params }) => {
  const text = async () => (await kernel.source()).default;

  test('bindings', async () => {
    const declared = [...(await text()).matchAll(/@group\(0\) @binding\((\d+)\) var<(storage, read|storage, read_write|uniform)> (\w+):/g)];
    declared.sort(([, a], [, b]) => Number(a) - Number(b)); // a part's follow the kernel's
    const access: Record<string, string> = { 'storage, read': 'read', 'storage, read_write': 'write', uniform: 'uniform' };
    expect(declared.map(([, number]) => Number(number))).toEqual(kernel.bindings.map((_, i) => i));
    expect(declared.map(([, , kind, name]) => ({ name, access: access[kind!] }))).toEqual(kernel.bindings);
  });

  test('uniforms', async () => {
    if (params.length === 0) return; // the probe has none
    const [, body] = (await text()).match(/struct Params \{\n(.*?)\n\}/s)!;
    const fields = body!.split('\n').map((line) => line.match(/^ {2}(\w+): (u32|i32|f32),/)!.slice(1));
    expect(params.map(([name, type]) => [name, type])).toEqual(fields);
  });

  test('the first line is the slot for enable', async () => {
    const { enable = [] } = kernel;
    expect((await text()).split('\n')[0]).toBe(enable.map((name) => `enable ${name};`).join(' ') || '// enable');
  });
});
