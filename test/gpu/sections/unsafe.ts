/** What the safety that browsers ask of Dawn costs here: the same kernels without clamped indices and zeroed workgroup memory. */
import { EXACT_STAMPS, openGpu } from './dawn.ts';
import { Bench, forward } from './measure.ts';
import { isTiny, row, section } from './say.ts';
import { square } from './shapes.ts';

const PATHS = {
  'fused, no clamping': {},
  'flash_forward, no clamping': { algorithm: 'fused', variant: { flash_forward: { TILE_N: 32 } } },
} as const;

await section(async () => {
  await openGpu([EXACT_STAMPS, 'enable-dawn-features=disable_robustness,disable_workgroup_init,skip_validation']);
  const bench = await Bench.open();
  for (const dtype of bench.dtypes)
    for (const D of isTiny ? [64] : [64, 128])
      for (const [path, options] of Object.entries(PATHS)) {
        const shape = square(dtype, D, isTiny ? 64 : 4096);
        await row(bench.device, 'unsafe', { path, ...shape }, () => forward(bench, shape, { options }));
      }
});
