/**
 * Random problems through both algorithms and every tier of the fused pass, in poisoned memory, against the reference.
 * `npm run fuzz -- --cases 3000 --seed 7`. A failing case is shrunk, and printed with the line that repeats it.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fromHalf, toHalf } from '../../src/half.ts';
import { type Attention, type AttentionOptions, createAttention, type DType, type GpuTensor } from '../../src/index.ts';
import { type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { placeBytes } from '../rig/gpu.ts';
import { random, randomArray } from '../rig/random.ts';
import { type FuzzProblem, fuzzProblem } from './problem.ts';

const CASES = Number(import.meta.env.VITE_FUZZ_CASES ?? 100);
const SEED = Number(import.meta.env.VITE_FUZZ_SEED ?? 1);
const PATH = import.meta.env.VITE_FUZZ_PATH as string | undefined;

let attention: Attention;
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
  await fc.assert(property, {
    ...{ numRuns: CASES, seed: SEED, ...(PATH && { path: PATH, endOnFailure: true }) },
    reporter: (run) => {
      if (!run.failed) return;
      const message = run.errorInstance instanceof Error ? run.errorInstance.message : String(run.errorInstance);
      const again = `npm run fuzz -- --seed ${run.seed} --path ${run.counterexamplePath}`;
      throw new Error(`${message}\nproblem: ${JSON.stringify(run.counterexample)}\nrepeat: ${again}`);
    },
  });
});

const LOWEST = -3.4028234663852886e38;
const round = (data: Float32Array<ArrayBuffer>, dtype: DType) => (dtype === 'f16' ? data.map((value) => fromHalf(toHalf(value))) : data);

async function check(p: FuzzProblem): Promise<void> {
  const { B, Hk, N, M, D, Dv, seed } = p;
  const H = Hk * p.group;
  const draw = random(seed);
  const data = {
    q: round(randomArray(seed, B * H * N * D), p.qType),
    k: round(randomArray(seed + 1, B * Hk * M * D, 2), p.kType),
    v: round(randomArray(seed + 2, B * Hk * M * Dv), p.kType),
  };
  const made: GPUBuffer[] = [];
  const put = (values: ArrayLike<number>, shape: number[], dtype: DType, strides?: number[]): GpuTensor => {
    const tensor = placeBytes(attention.device, values, shape, { dtype, offset: 4 * p.offset, ...(strides && { strides }) });
    made.push(tensor.buffer);
    return tensor;
  };
  const view = (heads: number, rows: number, width: number) => {
    const row = width + p.gap;
    return p.isInterleaved ? [rows * heads * row, row, heads * row, 1] : [heads * rows * row, rows * row, row, 1];
  };
  const tensors = [
    put(data.q, [B, H, N, D], p.qType, view(H, N, D)),
    put(data.k, [B, Hk, M, D], p.kType, view(Hk, M, D)),
    put(data.v, [B, Hk, M, Dv], p.kType, view(Hk, M, Dv)),
  ] as const;

  const full = [B, H, N, M];
  const maskShape = p.mask && full.map((size, axis) => (p.mask!.broadcast[axis] ? 1 : size)).slice(4 - p.mask.rank);
  const maskCount = maskShape?.reduce((a, b) => a * b, 1) ?? 0;
  const maskData =
    p.mask?.kind === 'bool'
      ? Uint8Array.from({ length: maskCount }, () => Number(draw() < 0.7))
      : round(
          Float32Array.from({ length: maskCount }, () => (draw() < 0.2 ? Number.NEGATIVE_INFINITY : 4 * draw() - 2)),
          p.mask?.kind ?? 'f32',
        );
  const lengths = p.lengths ? Array.from({ length: B }, () => Math.floor(draw() * (M + 2))) : undefined;
  const slopes = p.alibi ? randomArray(seed + 3, H, 0.3) : undefined;
  const sinks = p.sinks ? randomArray(seed + 4, H, 3) : undefined;
  const plain = {
    ...{ isCausal: p.isCausal, causalOffset: p.causalOffset, softcap: p.softcap, returnLse: true },
    ...(p.scale !== undefined && { scale: p.scale / Math.sqrt(D) }),
    ...(p.window && { window: p.window }),
    ...(p.dropout > 0 && { dropout: { probability: p.dropout, seed } }),
  };
  const options: AttentionOptions = {
    ...plain,
    ...(p.mask && { mask: put(maskData, maskShape!, p.mask.kind) }),
    ...(lengths && { keyLengths: put(lengths, [B], 'u32') }),
    ...(slopes && { alibiSlopes: put(slopes, [H], 'f32') }),
    ...(sinks && { sinks: put(sinks, [H], 'f32') }),
  };
  const host = (values: Float32Array, ...shape: number[]) => ({ data: values, shape });
  const hostOptions: ReferenceOptions = {
    ...plain,
    ...(p.mask && { mask: { data: maskData, shape: maskShape! } as ReferenceOptions['mask'] & object }),
    ...(lengths && { keyLengths: lengths }),
    ...(slopes && { alibiSlopes: host(slopes, H) }),
    ...(sinks && { sinks: host(sinks, H) }),
  };
  const expected = scaledDotProductAttention(host(data.q, B, H, N, D), host(data.k, B, Hk, M, D), host(data.v, B, Hk, M, Dv), hostOptions);

  const ways: [string, AttentionOptions][] = [
    ['explicit', { algorithm: 'explicit' }],
    ['flash_forward', { variant: { 'flash_forward.TILE_N': [4, 16, 32][seed % 3]! } }],
    ...(attention.device.features.has('subgroups')
      ? [['flash_forward_quad', { variant: { 'flash_forward_quad.KEYS': [1, 2, 4][seed % 3]! } }] as [string, AttentionOptions]]
      : []),
  ];
  for (const [way, forced] of ways) {
    const { out, lse } = await attention.scaledDotProductAttention(...tensors, { ...options, ...forced });
    compare(`${way} out`, (await attention.download(out)).data, expected.out.data, p.qType === 'f16' ? 2 ** -10 : 0);
    compare(`${way} lse`, (await attention.download(lse!)).data, expected.lse!.data, 0);
    attention.release(out, lse!);
  }
  for (const buffer of made) buffer.destroy();
}

/** Scores reach about 20 (see problem.ts), and are right to about 2e-6; a score's error shows in full in its weight: ten times that is allowed. */
function compare(what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, rounding: number): void {
  let largest = 1;
  for (let i = 0; i < expected.length; i++) if (expected[i]! > LOWEST) largest = Math.max(largest, Math.abs(expected[i]!));
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i]!;
    const isRight = value <= LOWEST ? actual[i] === Math.fround(LOWEST) : Math.abs(actual[i]! - value) <= (2e-5 + rounding) * largest;
    if (!isRight) throw new Error(`${what}[${i}] is ${actual[i]}, not ${value}`);
  }
}
