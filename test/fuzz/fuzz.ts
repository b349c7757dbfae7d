/**
 * Random problems through both algorithms and every tier of the fused pass, in poisoned memory, against the reference,
 * and where it can judge them against onnxruntime; the gradients of some of them. Two pages share them, since compiling takes one core a page.
 * `npm run fuzz -- --cases 3000 --seed 7`. A failing case is shrunk, and printed with the line that repeats it.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commands } from 'vitest/browser';
import { type Attention, type AttentionOptions, createAttention, type ScoresForm } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { place, runPass } from '../rig/gpu.ts';
import { withEveryFlag } from '../rig/tiers.ts';
import { expectNearLargest, F32 } from './compare.ts';
import { expectGradients } from './gradients.ts';
import { drawInputs } from './inputs.ts';
import { limitOf } from './limit.ts';
import { type FuzzProblem, fuzzProblem, hasGradients, isGeneral } from './problem.ts';
import { secondOpinion } from './second-oracle.ts';
import { hostTensors, Placer } from './tensors.ts';

const CASES = Number(import.meta.env.VITE_FUZZ_CASES ?? 100);
const SEED = Number(import.meta.env.VITE_FUZZ_SEED ?? 1);
const PATH = import.meta.env.VITE_FUZZ_PATH as string | undefined;

const FORMS: readonly ScoresForm[] = ['raw', 'softcapped', 'masked', 'weights'];

let attention: Attention;

/** The tests of one page: of the problems that a seed draws, those that it is the first to claim. What `--path` repeats, page 0 runs alone. */
export function fuzz(page: 0 | 1): void {
  const isIdle = PATH !== undefined && page === 1;
  const uncaptured: string[] = [];
  beforeAll(async () => {
    attention = await createAttention();
    attention.device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
  });
  afterAll(() => {
    attention.destroy();
    expect(uncaptured).toEqual([]);
  });

  test.skipIf(isIdle)(`${CASES} random problems, seed ${SEED}, page ${page}`, { timeout: limitOf(CASES) }, async () => {
    const onnxruntime = await commands.findOnnxruntime();
    const counts = { drawn: 0, done: 0, backward: 0, judgedTwice: 0 };
    let hasFailed = false; // from then on fast-check shrinks, and every problem is this page's
    let reported = performance.now();
    const property = fc.asyncProperty(fuzzProblem(attention.device.features.has('shader-f16')), async (problem) => {
      const number = counts.drawn++;
      if (!PATH && !hasFailed && !(await commands.claimProblem(number))) return;
      const { isJudgedTwice, isBackward } = await judgeProblem(problem, 'version' in onnxruntime).catch((error) => {
        hasFailed = true;
        throw error;
      });
      counts.done++;
      counts.backward += Number(isBackward);
      counts.judgedTwice += Number(isJudgedTwice);
      if (performance.now() - reported > 10_000) {
        reported = performance.now();
        console.log(`page ${page}: ${counts.drawn} of ${CASES} problems`);
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
    await whole.finally(() => {
      console.log(`page ${page}: ${counts.backward} of ${counts.done} problems went backward too`);
      console.log(
        'version' in onnxruntime
          ? `page ${page}: ${counts.judgedTwice} of ${counts.done} problems were also judged by onnxruntime ${onnxruntime.version}`
          : `The second oracle, onnxruntime, is missing: ${onnxruntime.missing}`,
      );
    });
  });
}

/** Runs one problem in every way. @returns whether onnxruntime judged it too, and whether it went backward */
async function judgeProblem(p: FuzzProblem, isOnnxruntimeThere: boolean) {
  const drawn = drawInputs(p);
  const { q, k, v, options } = hostTensors(p, drawn);
  const returnScores = p.seed % 3 === 0 ? FORMS[p.seed % FORMS.length] : undefined;
  const expected = scaledDotProductAttention(q, k, v, { ...options, ...(returnScores && { returnScores }) });
  const opinion = isOnnxruntimeThere ? await secondOpinion(p, drawn) : undefined;
  if (opinion) expectNearLargest('reference out against onnxruntime', expected.out.data, opinion, F32);
  const placer = new Placer(attention.device, p);
  const inputs = placer.inputs(drawn);
  const rounding = p.qType === 'f16' ? 2 ** -10 : 0;
  const ways = waysOf(p);
  const judgeWay = async ([way, forced]: (typeof ways)[number]) => {
    const asked = way === 'explicit' && returnScores ? { returnScores } : {};
    const given = { ...inputs.options, ...forced, ...asked };
    const { out, lse, scores } = await attention.scaledDotProductAttention(inputs.q, inputs.k, inputs.v, given);
    const { data } = await attention.download(out);
    expectNearLargest(`${way} out`, data, expected.out.data, F32 + rounding);
    if (opinion) expectNearLargest(`${way} out against onnxruntime`, data, opinion, 2 * F32 + rounding); // both are in f32
    expectNearLargest(`${way} lse`, (await attention.download(lse!)).data, expected.lse!.data, F32);
    if (scores) expectNearLargest(`${way} scores, ${returnScores}`, (await attention.download(scores)).data, expected.scores!.data, F32);
    attention.release(out, lse!, ...(scores ? [scores] : []));
  };
  await Promise.all(ways.map(judgeWay)); // all at once: a device compiles several at a time
  if (p.qType === 'f32' && p.seed % 4 === 0) await expectStridedOut(p, inputs, ways[(p.seed / 4) % ways.length]!, expected.out.data);
  const isBackward = hasGradients(p);
  if (isBackward) await expectGradients(attention, p, drawn, inputs, placer);
  placer.destroy();
  return { isJudgedTwice: opinion !== undefined, isBackward };
}

/** One way once more, into an out and a log-sum-exp of the caller's: with gaps, and poison that must stay. */
async function expectStridedOut(
  p: FuzzProblem,
  { q, k, v, options }: ReturnType<Placer['inputs']>,
  [way, forced]: [string, AttentionOptions],
  expected: ArrayLike<number>,
): Promise<void> {
  const { B, N, Dv } = p;
  const H = p.Hk * p.group;
  const row = Dv + p.gap;
  const strides = p.isInterleaved ? [N * H * row, row, H * row, 1] : [H * N * row, N * row, row, 1];
  const out = place(attention.device, null, [B, H, N, Dv], { strides, offset: 4 * p.offset });
  const lse = place(attention.device, null, [B, H, N], { offset: 256 }); // the plan takes it as dense, at the beginning of a binding
  const plan = await attention.plan({ ...options, ...forced, q, k, v, out: out.tensor });
  const workspace = plan.workspaceBytes > 0 && attention.device.createBuffer({ size: plan.workspaceBytes, usage: GPUBufferUsage.STORAGE });
  const { mask, keyLengths, alibiSlopes, sinks } = options;
  const given = { ...(mask && { mask }), ...(keyLengths && { keyLengths }), ...(alibiSlopes && { alibiSlopes }), ...(sinks && { sinks }) };
  await runPass(attention.device, (pass) =>
    plan.encode(pass, { q, k, v, ...given, out: out.tensor, lse: lse.tensor, ...(workspace && { workspace }) }),
  );
  expectNearLargest(`${way}, strided out`, await out.read(), expected, F32);
  await lse.read();
  plan.destroy();
  for (const buffer of [out.tensor.buffer, lse.tensor.buffer, ...(workspace ? [workspace] : [])]) buffer.destroy();
}

/** Every kernel of the forward pass, with tiles that few pipelines cover: compiling them takes a software device seconds. */
function waysOf(p: FuzzProblem): [string, AttentionOptions][] {
  const { seed, D, Dv } = p;
  const isShort = Math.max(D, Dv) <= 64;
  const blocks = (count: number) => ({ D_BLOCKS: count, DV_BLOCKS: count });
  const rowTiles = isShort ? { ROWS: 2, ...blocks(4) } : { ROWS: 1, ...blocks(16) };
  const decodeTiles = {
    ...(seed % 2 === 0
      ? { SIZE: 32, LANES: 8, ROWS: 2, KEYS: 4, COLS: 4, ...blocks(2) } // as for GPUs
      : { SIZE: 16, LANES: 1, ROWS: 2, KEYS: 1, COLS: 4, ...blocks(isShort ? 4 : 16) }), // as for software devices
    SPLITS: [1, 3][seed % 2]!,
  };
  const large = Dv <= 128 ? { TILE_M: 32, KEYS: 8, BLOCKS: Math.ceil(Dv / 32) } : { TILE_M: 64, KEYS: 4, BLOCKS: Math.ceil(Dv / 64) };
  const largeTiles = { TILE_N: 32, STEP: 16, ...large };
  const wideTiles = { TILE_N: 16, TILE_M: 128, STEP: 8, KEYS: 4, BLOCKS: Dv <= 128 ? 1 : 2 }; // as for GPUs that hold little
  const force = (kernel: string, constants: object): [string, AttentionOptions] => {
    const variant = { [kernel]: constants };
    return [kernel, { variant: isGeneral(p) ? withEveryFlag(variant) : variant }];
  };
  return [
    ['explicit', { algorithm: 'explicit' }],
    force('flash_forward', [{ TILE_N: 4 }, { TILE_N: 16 }, largeTiles, wideTiles][Math.floor(seed / 64) % 4]!),
    force('flash_decode', decodeTiles),
    ...(attention.device.features.has('subgroups')
      ? [force('flash_forward_quad', { ROWS: [1, 2, 4][D % 3]! }), force('flash_forward_row', rowTiles)]
      : []),
  ];
}
