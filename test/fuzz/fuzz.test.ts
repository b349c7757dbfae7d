/**
 * Random problems through both algorithms and every tier of the fused pass, in poisoned memory, against the reference,
 * and where it can judge them against onnxruntime.
 * `npm run fuzz -- --cases 3000 --seed 7`. A failing case is shrunk, and printed with the line that repeats it.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commands } from 'vitest/browser';
import { type Attention, type AttentionOptions, createAttention, type DType, type GpuTensor } from '../../src/index.ts';
import { type ReferenceOptions, type ReferenceOutput, scaledDotProductAttention } from '../../src/reference/index.ts';
import { placeBytes } from '../rig/gpu.ts';
import { drawInputs, type FuzzInputs } from './inputs.ts';
import { type FuzzProblem, fuzzProblem } from './problem.ts';
import { secondOpinion } from './second-oracle.ts';

const CASES = Number(import.meta.env.VITE_FUZZ_CASES ?? 100);
const SEED = Number(import.meta.env.VITE_FUZZ_SEED ?? 1);
const PATH = import.meta.env.VITE_FUZZ_PATH as string | undefined;

let attention: Attention;
let isThere = false; // onnxruntime
let judgedTwice = 0;
const uncaptured: string[] = [];
beforeAll(async () => {
  attention = await createAttention();
  attention.device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
});
afterAll(() => {
  attention.destroy();
  expect(uncaptured).toEqual([]);
});

const MINUTE = 60_000;
test(`${CASES} random problems, seed ${SEED}`, { timeout: 30 * MINUTE }, async () => {
  const found = await commands.findOnnxruntime();
  isThere = 'version' in found;
  let done = 0;
  let reported = performance.now();
  const property = fc.asyncProperty(fuzzProblem(attention.device.features.has('shader-f16')), async (problem) => {
    await check(problem);
    done++;
    if (performance.now() - reported > 10_000) {
      reported = performance.now();
      console.log(`${done} of ${CASES} problems`);
    }
  });
  const whole = fc.assert(property, {
    ...{ numRuns: CASES, seed: SEED, ...(PATH && { path: PATH, endOnFailure: true }) },
    reporter: (run) => {
      if (!run.failed) return;
      const message = run.errorInstance instanceof Error ? run.errorInstance.message : String(run.errorInstance);
      const again = `npm run fuzz -- --seed ${run.seed} --path ${run.counterexamplePath}`;
      throw new Error(`${message}\nproblem: ${JSON.stringify(run.counterexample)}\nrepeat: ${again}`);
    },
  });
  await whole.finally(() =>
    console.log(
      'version' in found
        ? `${judgedTwice} of ${done} problems were also judged by onnxruntime ${found.version}`
        : `The second oracle, onnxruntime, is missing: ${found.missing}`,
    ),
  );
});

async function check(p: FuzzProblem): Promise<void> {
  const inputs = drawInputs(p);
  const expected = reference(p, inputs);
  const opinion = isThere ? await secondOpinion(p, inputs) : undefined;
  if (opinion) compare('reference out against onnxruntime', expected.out.data, opinion, F32);
  const made: GPUBuffer[] = [];
  const [tensors, options] = place(p, inputs, made);
  const ways: [string, AttentionOptions][] = [
    ['explicit', { algorithm: 'explicit' }],
    ['flash_forward', { variant: { 'flash_forward.TILE_N': [4, 16, 32][p.seed % 3]! } }],
    ...(attention.device.features.has('subgroups')
      ? [['flash_forward_quad', { variant: { 'flash_forward_quad.ROWS': [1, 2, 4][p.seed % 3]! } }] as [string, AttentionOptions]]
      : []),
  ];
  const rounding = p.qType === 'f16' ? 2 ** -10 : 0;
  for (const [way, forced] of ways) {
    const { out, lse } = await attention.scaledDotProductAttention(...tensors, { ...options, ...forced });
    const { data } = await attention.download(out);
    compare(`${way} out`, data, expected.out.data, F32 + rounding);
    if (opinion) compare(`${way} out against onnxruntime`, data, opinion, 2 * F32 + rounding); // both are in f32
    compare(`${way} lse`, (await attention.download(lse!)).data, expected.lse!.data, F32);
    attention.release(out, lse!);
  }
  for (const buffer of made) buffer.destroy();
  if (opinion) judgedTwice++;
}

const plainOptions = (p: FuzzProblem) => ({
  ...{ isCausal: p.isCausal, causalOffset: p.causalOffset, softcap: p.softcap, returnLse: true },
  ...(p.scale !== undefined && { scale: p.scale / Math.sqrt(p.D) }),
  ...(p.window && { window: p.window }),
  ...(p.dropout > 0 && { dropout: { probability: p.dropout, seed: p.seed } }),
});

function reference(p: FuzzProblem, { q, k, v, mask, lengths, slopes, sinks }: FuzzInputs): ReferenceOutput {
  const { B, Hk, N, M, D, Dv } = p;
  const H = Hk * p.group;
  const host = (data: Float32Array, ...shape: number[]) => ({ data, shape });
  return scaledDotProductAttention(host(q, B, H, N, D), host(k, B, Hk, M, D), host(v, B, Hk, M, Dv), {
    ...plainOptions(p),
    ...(mask && { mask: mask as ReferenceOptions['mask'] & object }),
    ...(lengths && { keyLengths: lengths }),
    ...(slopes && { alibiSlopes: host(slopes, H) }),
    ...(sinks && { sinks: host(sinks, H) }),
  });
}

/** The inputs on the device, among poison; their buffers are added to `made`. */
function place(p: FuzzProblem, { q, k, v, mask, lengths, slopes, sinks }: FuzzInputs, made: GPUBuffer[]) {
  const { B, Hk, N, M, D, Dv } = p;
  const H = Hk * p.group;
  const put = (values: ArrayLike<number>, shape: readonly number[], dtype: DType, strides?: number[]): GpuTensor => {
    const tensor = placeBytes(attention.device, values, shape, { dtype, offset: 4 * p.offset, ...(strides && { strides }) });
    made.push(tensor.buffer);
    return tensor;
  };
  const view = (heads: number, rows: number, width: number) => {
    const row = width + p.gap;
    return p.isInterleaved ? [rows * heads * row, row, heads * row, 1] : [heads * rows * row, rows * row, row, 1];
  };
  const tensors = [
    put(q, [B, H, N, D], p.qType, view(H, N, D)),
    put(k, [B, Hk, M, D], p.kType, view(Hk, M, D)),
    put(v, [B, Hk, M, Dv], p.kType, view(Hk, M, Dv)),
  ] as const;
  const options: AttentionOptions = {
    ...plainOptions(p),
    ...(mask && { mask: put(mask.data, mask.shape, p.mask!.kind) }),
    ...(lengths && { keyLengths: put(lengths, [B], 'u32') }),
    ...(slopes && { alibiSlopes: put(slopes, [H], 'f32') }),
    ...(sinks && { sinks: put(sinks, [H], 'f32') }),
  };
  return [tensors, options] as const;
}

const LOWEST = -3.4028234663852886e38;
/** Scores reach about 20 (see problem.ts), and are right in f32 to about 2e-6; a score's error shows in full in its weight: ten times that is allowed. */
const F32 = 2e-5;

/** @param allowed relative to the largest value, where that exceeds 1 */
function compare(what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, allowed: number): void {
  let largest = 1;
  for (let i = 0; i < expected.length; i++) if (expected[i]! > LOWEST) largest = Math.max(largest, Math.abs(expected[i]!));
  if (actual.length !== expected.length) throw new Error(`${what} has ${actual.length} elements, not ${expected.length}`);
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i]!;
    const isRight = value <= LOWEST ? actual[i] === Math.fround(LOWEST) : Math.abs(actual[i]! - value) <= allowed * largest;
    if (!isRight) throw new Error(`${what}[${i}] is ${actual[i]}, not ${value}`);
  }
}
