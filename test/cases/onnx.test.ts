/** The ONNX operators Attention (opsets 23 to 25) and Softmax, by the cases of the ONNX project, through a thin adapter. */
import { describe, expect, test } from 'vitest';
import { elementCount } from '../../src/contract/tensor.ts';
import type { AttentionOptions, GpuTensor, ScoresForm } from '../../src/index.ts';
import { softmaxDispatch } from '../../src/kernels/softmax.ts';
import { type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { problemOf, runKernel } from '../rig/kernel.ts';
import {
  areAbsent,
  type CaseTensor,
  casesOf,
  expectNear,
  floatOn,
  hostMask,
  type OutsideCase,
  readCase,
  type Uploadable,
  uploadCase,
} from './outside-case.ts';

const FORMS: readonly ScoresForm[] = ['raw', 'softcapped', 'masked', 'weights'];

/** A case as attention sees it: [B,H,N,D] tensors, the past in front of the keys, the mask as wide as the keys. */
interface Adapted {
  readonly q: CaseTensor;
  readonly k: CaseTensor;
  readonly v: CaseTensor;
  readonly mask: ReturnType<typeof hostMask> | undefined;
  readonly keyLengths: number[] | undefined;
  readonly options: Omit<AttentionOptions, 'mask' | 'keyLengths' | 'alibiSlopes' | 'sinks'>;
  readonly out: ArrayLike<number>; // [B,H,N,Dv]
  readonly scores: ArrayLike<number> | undefined;
  readonly within: number;
}

function adapt({ attributes, nodeInputs, nodeOutputs, inputs, outputs }: OutsideCase): Adapted {
  const input = (slot: number): CaseTensor | undefined => inputs[nodeInputs[slot] ?? ''];
  const {
    q_num_heads: H,
    kv_num_heads: Hk,
    is_causal,
    scale,
    softcap = 0,
    qk_matmul_output_mode: mode = 0,
  } = attributes as Record<string, number | undefined>;
  const { left_window_size: left = -1, right_window_size: right = -1 } = attributes as Record<string, number>;
  const [pastKey, pastValue] = [input(4), input(5)];
  const q = heads(input(0)!, H);
  const k = append(pastKey, heads(input(1)!, Hk));
  const v = append(pastValue, heads(input(2)!, Hk));
  const nonpad = input(6);
  const reach = (size: number) => (size < 0 ? Number.POSITIVE_INFINITY : size);
  const scores = outputs[nodeOutputs[3] ?? ''];
  const y = outputs[nodeOutputs[0]!]!;
  return {
    ...{ q, k, v },
    mask: input(3) && hostMask(widen(input(3)!, k.shape[2]!)),
    keyLengths: nonpad && [...nonpad.data],
    options: {
      ...{ softcap, isCausal: Boolean(is_causal), causalOffset: nonpad ? 'lower-right' : (pastKey?.shape[2] ?? 0) },
      ...(scale !== undefined && { scale }),
      ...((left >= 0 || right >= 0) && { window: [reach(left), reach(right)] as const }),
      ...(scores && { returnScores: FORMS[mode]! }),
    },
    out: heads(y, H).data,
    scores: scores?.data,
    within: y.dtype === 'f16' ? 2 ** -10 : 5e-6, // what f16 cases expect was rounded to f16
  };
}

/** [B,N,H·D] as [B,H,N,D]; a tensor of rank 4 as it is. */
function heads({ data, shape, dtype }: CaseTensor, H: number | undefined): CaseTensor {
  if (shape.length === 4) return { data, shape, dtype };
  const [B, N, width] = shape as [number, number, number];
  const D = width / H!;
  const out = new Float32Array(data.length);
  for (let b = 0; b < B; b++) {
    for (let n = 0; n < N; n++) {
      for (let h = 0; h < H!; h++)
        out.set(data.subarray((b * N + n) * width + h * D, (b * N + n) * width + (h + 1) * D), ((b * H! + h) * N + n) * D);
    }
  }
  return { data: out, shape: [B, H!, N, D], dtype };
}

/** The past's keys in front of the present's. */
function append(past: CaseTensor | undefined, present: CaseTensor): CaseTensor {
  if (!past) return present;
  const [B, H, M, D] = present.shape as [number, number, number, number];
  const P = past.shape[2]!;
  const out = new Float32Array(B * H * (P + M) * D);
  for (let i = 0; i < B * H; i++) {
    out.set(past.data.subarray(i * P * D, (i + 1) * P * D), i * (P + M) * D);
    out.set(present.data.subarray(i * M * D, (i + 1) * M * D), i * (P + M) * D + P * D);
  }
  return { data: out, shape: [B, H, P + M, D], dtype: present.dtype };
}

/** A mask narrower than the keys: what it does not reach is excluded. */
function widen(mask: CaseTensor, M: number): CaseTensor {
  const width = mask.shape.at(-1)!;
  if (width === M || width === 1) return mask;
  const rows = mask.data.length / width;
  const data = new Float32Array(rows * M).fill(mask.dtype === 'bool' ? 0 : Number.NEGATIVE_INFINITY);
  for (let row = 0; row < rows; row++) data.set(mask.data.subarray(row * width, (row + 1) * width), row * M);
  return { ...mask, data, shape: [...mask.shape.slice(0, -1), M] };
}

describe.skipIf(areAbsent)('ONNX Attention', () => {
  const names = casesOf('onnx/attention');

  test.each(names)('the reference: %s', async (name) => {
    const { q, k, v, mask, keyLengths, options, out, scores, within } = adapt(await readCase(name));
    const result = scaledDotProductAttention(q, k, v, {
      ...options,
      ...(mask && { mask }),
      ...(keyLengths && { keyLengths }),
    } as ReferenceOptions);
    expectNear('out', result.out.data, out, within);
    if (scores) expectNear('scores', result.scores!.data, scores, within);
  });

  onDevices('the GPU', (attention) => {
    for (const algorithm of ['fused', 'explicit'] as const) {
      test.each(names)(`${algorithm}: %s`, async (name) => {
        const { q, k, v, mask, keyLengths, options, out, scores, within } = adapt(await readCase(name));
        const on = attention();
        const made: GpuTensor[] = [];
        const keep = (tensor: GpuTensor) => {
          made.push(tensor);
          return tensor;
        };
        const upload = (tensor: Uploadable) => keep(uploadCase(on, tensor));
        const { returnScores, ...rest } = options;
        const given: AttentionOptions = {
          ...{ ...rest, algorithm },
          ...(algorithm === 'explicit' && returnScores && { returnScores }),
          ...(mask && { mask: upload(mask) }),
          ...(keyLengths && { keyLengths: keep(on.upload(Uint32Array.from(keyLengths), [keyLengths.length])) }),
        };
        const result = await on.scaledDotProductAttention(upload(q), upload(k), upload(v), given);
        expect(result.out.dtype).toBe(floatOn(on, q.dtype));
        expectNear('out', (await on.download(result.out)).data, out, within);
        if (result.scores) expectNear('scores', (await on.download(result.scores)).data, scores!, within);
        on.release(...made, result.out, ...(result.scores ? [result.scores] : []));
      });
    }
  });
});

describe.skipIf(areAbsent)('ONNX Softmax', () => {
  onDevices('the GPU', (attention) => {
    test.each(casesOf('onnx/softmax'))('%s', async (name) => {
      const { attributes, inputs, outputs } = await readCase(name);
      const [x, y] = [Object.values(inputs)[0]!, Object.values(outputs)[0]!];
      const axis = (attributes.axis as number | undefined) ?? -1;
      const rows = lastAxis(x, axis);
      const M = x.shape.at(axis)!;
      const N = elementCount(x.shape) / M;
      const on = attention();
      const scores = on.upload(rows, [1, 1, N, M]);
      await runKernel(on, softmaxDispatch(problemOf({ N, M }), { LANES: 4, ROWS: 16 }, 256), { scores });
      expectNear('weights', (await on.download(scores)).data, lastAxis(y, axis), 1e-6);
      on.release(scores);
    });
  });
});

/** A tensor's elements with one axis moved to the end. */
function lastAxis({ data, shape }: CaseTensor, axis: number): Float32Array<ArrayBuffer> {
  const at = axis < 0 ? shape.length + axis : axis;
  const size = shape[at]!;
  const inner = elementCount(shape.slice(at + 1));
  return Float32Array.from({ length: data.length }, (_, i) => {
    const [row, m] = [Math.floor(i / size), i % size];
    return data[(Math.floor(row / inner) * size + m) * inner + (row % inner)]!;
  });
}
