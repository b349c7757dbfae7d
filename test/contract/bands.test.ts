/** Causal and window bands over lengths that straddle every tile: tiles that no query sees, that some see, that all see. */
import { test } from 'vitest';
import type { AttentionOptions } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { tiersOf } from '../rig/tiers.ts';
import { expectNear } from '../rig/tolerance.ts';

const BANDS: AttentionOptions[] = [
  { isCausal: true },
  { isCausal: true, causalOffset: 'lower-right' },
  { isCausal: true, causalOffset: -37 },
  { window: [9, 4], causalOffset: 3 },
  { window: [70, 0] },
  { window: [Number.POSITIVE_INFINITY, 21], causalOffset: 'lower-right' },
];
const LENGTHS = [
  [5, 70],
  [67, 67],
  [130, 65],
  [300, 300],
] as const;
const [H, D] = [2, 8];

onDevices('bands', (attention) => {
  test.each(BANDS.flatMap((band) => LENGTHS.map(([N, M]) => ({ N, M, band }))))('N $N, M $M, $band', async ({ N, M, band }) => {
    const on = attention();
    const data = [randomArray(1, H * N * D), randomArray(2, M * D), randomArray(3, M * D)] as const;
    const shapes = [
      [1, H, N, D],
      [1, 1, M, D],
      [1, 1, M, D],
    ] as const;
    const [q, k, v] = [0, 1, 2].map((i) => ({ data: data[i]!, shape: shapes[i]! }));
    const expected = scaledDotProductAttention(q!, k!, v!, { ...band, returnLse: true } as Parameters<typeof scaledDotProductAttention>[3]);
    const inputs = [0, 1, 2].map((i) => on.upload(data[i]!, shapes[i]!));
    for (const options of [{ algorithm: 'explicit' } as const, ...tiersOf(on.device).map(({ variant }) => ({ variant }))]) {
      const { out, lse } = await on.scaledDotProductAttention(inputs[0]!, inputs[1]!, inputs[2]!, { ...band, ...options, returnLse: true });
      for (const [name, tensor, values] of [
        ['out', out, expected.out.data],
        ['lse', lse!, expected.lse!.data],
      ] as const) {
        const got = (await on.download(tensor)).data;
        expectNear(`${JSON.stringify(options)}: ${name}`, got, values, (value) => 5e-6 * Math.max(1, Math.abs(value)));
      }
      on.release(out, lse!);
    }
    on.release(...inputs);
  });
});
