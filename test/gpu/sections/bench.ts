/** `bench.mjs prefill|decode|gradients`: what the library reaches at shapes that fill a GPU, the most telling first. */
import { type AttentionOptions, createAttention } from '../../../src/index.ts';
import type { Shape } from '../records.ts';
import { Clock } from './clock.ts';
import { EXACT_STAMPS, openGpu } from './dawn.ts';
import { Bench, forward, gradients } from './measure.ts';
import { isTiny, row, section } from './say.ts';
import { decode, setsOf, square } from './shapes.ts';

const HEAD_SIZES = isTiny ? [64] : [64, 128];
const LENGTHS = {
  prefill: isTiny ? [64] : [1024, 4096, 16384, 512, 2048, 8192],
  baseline: isTiny ? [64] : [1024, 4096],
  decode: isTiny ? [512] : [16384, 131072, 4096, 65536],
  gradients: isTiny ? [64] : [1024, 4096, 2048, 8192],
};
/** The explicit path keeps N×M scores. */
const EXPLICIT = isTiny ? [64] : [1024, 2048, 4096];
const EXPLICIT_KEYS = 16384;

const what = process.argv[2] as 'prefill' | 'decode' | 'gradients';

const attend = (bench: Bench, path: string, shape: Shape, options: AttentionOptions = {}, sets = 1) =>
  row(bench.device, what, { path, ...shape }, () => forward(bench, shape, { options, sets }));

async function prefills(bench: Bench): Promise<void> {
  for (const N of LENGTHS.prefill)
    for (const D of HEAD_SIZES)
      for (const dtype of bench.dtypes) {
        await attend(bench, 'fused', square(dtype, D, N));
        if (EXPLICIT.includes(N)) await attend(bench, 'explicit', square(dtype, D, N), { algorithm: 'explicit' });
        await attend(bench, 'fused', square(dtype, D, N, true));
      }
}

/** The same on a device without subgroups. */
async function withoutSubgroups(gpu: GPU, { peaks }: Bench): Promise<void> {
  const adapter = (await gpu.requestAdapter())!;
  const wanted: GPUFeatureName[] = ['timestamp-query', 'shader-f16'];
  const device = await adapter.requestDevice({ requiredFeatures: wanted.filter((name) => adapter.features.has(name)) });
  const bench = new Bench(await createAttention({ device }), new Clock(device), peaks);
  for (const N of LENGTHS.baseline)
    for (const D of HEAD_SIZES) for (const dtype of bench.dtypes) await attend(bench, 'fused, no subgroups', square(dtype, D, N));
}

async function decodes(bench: Bench): Promise<void> {
  for (const M of LENGTHS.decode)
    for (const D of [...HEAD_SIZES].reverse())
      for (const dtype of bench.dtypes) {
        const shape = decode(dtype, D, M);
        await attend(bench, 'fused', shape, {}, setsOf(shape));
        if (M <= EXPLICIT_KEYS) await attend(bench, 'explicit', shape, { algorithm: 'explicit' }, setsOf(shape));
      }
}

async function gradientsOfAll(bench: Bench): Promise<void> {
  for (const N of LENGTHS.gradients)
    for (const D of HEAD_SIZES)
      for (const dtype of bench.dtypes)
        for (const causal of N === 4096 ? [false, true] : [false]) {
          const shape = square(dtype, D, N, causal);
          await row(bench.device, what, { path: 'fused', ...shape }, () => gradients(bench, shape));
        }
}

await section(async () => {
  const gpu = await openGpu([EXACT_STAMPS]);
  const bench = await Bench.open();
  if (what === 'decode') await decodes(bench);
  else if (what === 'gradients') await gradientsOfAll(bench);
  else {
    await prefills(bench);
    bench.release();
    await withoutSubgroups(gpu, bench);
  }
});
