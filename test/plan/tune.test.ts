/** tune measures on the device at hand, and what it gives is used: here, and by another Attention on the same adapter. */
import { describe, expect, test } from 'vitest';
import { type Attention, type AttentionOptions, createAttention, type KernelVariants, type Tuning } from '../../src/index.ts';
import { describeAdapter } from '../../src/plan/kept-tuning.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { candidates } from '../../src/tiles/candidates.ts';
import { chooseExplicitTiles } from '../../src/tiles/explicit.ts';
import type { DeviceFacts } from '../../src/tiles/facts.ts';
import { chooseFusedTiles } from '../../src/tiles/fused.ts';
import { watchBuffers } from '../rig/counting.ts';
import { onDevices, requestDefaultDevice } from '../rig/gpu.ts';
import { problemOf } from '../rig/kernel.ts';
import { randomArray } from '../rig/random.ts';
import { expectNear } from '../rig/tolerance.ts';

const [H, N, D] = [2, 33, 16];
const layout = { shape: [1, H, N, D], dtype: 'f32' } as const;
const problem = { q: layout, k: layout, v: layout };

const kernelsOf = async (options: AttentionOptions, on: Attention) => {
  const plan = await on.plan({ ...problem, ...(options as object) });
  plan.destroy();
  return plan.kernels;
};

onDevices('tune', (attention) => {
  test('gives plain JSON, and later calls of its class use the fastest', async () => {
    const on = await createAttention({ device: attention().device }); // its own: what it measures would change every later call of the other
    const fractions: number[] = [];
    const tuning = await on.tune(problem, { onProgress: (fraction) => fractions.push(fraction) });
    expect(fractions.length).toBeGreaterThan(10); // each compilation and each first run of 4 candidates at least, and the rounds
    expect(fractions[0]).toBeGreaterThan(0);
    expect(fractions.at(-1)).toBe(1);
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
    const [entry] = Object.values(tuning.fastest);
    expect(JSON.parse(JSON.stringify(tuning))).toEqual(tuning);
    expect(entry!.milliseconds).toBeGreaterThan(0);
    const kernels = await kernelsOf({}, on);
    expect(kernels.length).toBe(entry!.algorithm === 'explicit' ? 3 : 1);
    for (const [kernel, variant] of Object.entries(entry!.variant))
      expect(kernels.find((step) => step.name === kernel)).toMatchObject({ variant });
    for (const { reason } of kernels) expect(reason).toContain('the fastest that tune measured');
    // What the caller asks for goes first; other classes are as before.
    expect((await kernelsOf({ variant: { flash_forward: { TILE_N: 8 } } }, on))[0]).toMatchObject({
      name: 'flash_forward',
      variant: { TILE_N: 8 },
    });
    expect((await kernelsOf({ isCausal: true }, on))[0]!.reason).not.toContain('tune');
    // The answer is right.
    const data = [1, 2, 3].map((seed) => randomArray(seed, H * N * D));
    const [q, k, v] = data.map((values) => on.upload(values, layout.shape));
    const { out } = await on.scaledDotProductAttention(q!, k!, v!);
    const [a, b, c] = data.map((values) => ({ data: values, shape: layout.shape }));
    const expected = scaledDotProductAttention(a!, b!, c!).out.data;
    expectNear('out', (await on.download(out)).data, expected, 5e-6);
    on.release(out, q!, k!, v!);

    const other = await createAttention({ device: on.device, tuning });
    expect(await kernelsOf({}, other)).toEqual(kernels);
    // A second class is added to the first: of the same kernels, which are compiled.
    const longer = { ...layout, shape: [1, H, 2 * N, D] };
    const both = await other.tune({ q: longer, k: longer, v: longer });
    expect(Object.keys(both.fastest).length).toBe(2);
    expect(both.fastest).toMatchObject(tuning.fastest);
    other.destroy();
    on.destroy();
  });
});

onDevices('a tuning in use', (attention) => {
  test('a forced choice in the tuning is used', async () => {
    const on = attention();
    const first = await createAttention({ device: on.device });
    const { adapter, fastest } = await first.tune({ ...problem, softcap: 1 });
    first.destroy();
    const [key] = Object.keys(fastest) as [string];
    const tuning: Tuning = {
      adapter,
      fastest: { [key]: { algorithm: 'fused', variant: { flash_forward: { TILE_N: 64 } }, milliseconds: 1 } },
    };
    const other = await createAttention({ device: on.device, tuning });
    expect(await kernelsOf({ softcap: 2 }, other)).toMatchObject([{ name: 'flash_forward', variant: { TILE_N: 64 } }]);
    other.destroy();
  });

  test('explicit that was fastest for smaller problems of its class is not taken where its scores do not fit', async () => {
    const { device } = attention();
    const heads = 1 + Math.floor(device.limits.maxStorageBufferBindingSize / (4 * 1024 ** 2)); // of 513 × 513 scores not a third of a binding, of 1024 × 1024 more than one
    const ofLength = (N: number) => {
      const tensor = { shape: [1, heads, N, 1], dtype: 'f32' as const };
      return { q: tensor, k: tensor, v: tensor };
    };
    const adapter = describeAdapter(device);
    const key = `B1 H${heads}/${heads} N1024 M1024 D1 Dv1 f32 f32 scattered`;
    const on = await createAttention({
      device,
      tuning: { adapter, fastest: { [key]: { algorithm: 'explicit', variant: {}, milliseconds: 1 } } },
    });
    const namesOf = async (N: number) => (await on.plan(ofLength(N))).kernels.map(({ name }) => name);
    expect(await namesOf(513)).toEqual(['scores', 'softmax', 'context']);
    expect(await namesOf(1024)).toEqual([expect.stringMatching(/^flash_/)]);
    on.destroy();
  });

  test('what was measured with subgroups is not for a device without', async () => {
    const { device } = attention();
    const hasSubgroups = device.features.has('subgroups');
    const bare = await requestDefaultDevice();
    const measured = await createAttention({ device: hasSubgroups ? device : bare });
    const tuning = await measured.tune(problem);
    expect(tuning.adapter.endsWith(' subgroups')).toBe(hasSubgroups);
    const made = createAttention({ device: bare, tuning });
    if (hasSubgroups) await expect(made).rejects.toMatchObject({ code: 'option' });
    else (await made).destroy();
    measured.destroy();
    bare.destroy();
  });
});

onDevices('tune, in vain', (attention) => {
  test('what onProgress throws ends it, and every buffer is given back', async () => {
    const { device } = attention();
    const live = watchBuffers(device);
    const on = await createAttention({ device });
    const stopped = new Error('enough');
    const onProgress = (fraction: number) => {
      if (fraction > 0.2) throw stopped;
    };
    await expect(on.tune(problem, { onProgress })).rejects.toBe(stopped);
    const plan = await on.plan(problem);
    expect(plan.kernels[0]!.reason).not.toContain('tune');
    plan.destroy();
    on.destroy();
    expect(live()).toBe(0);
  });

  test.each([
    [{ onProgress: 5 }, 'tune: onProgress is 5: need a function'],
    [{ onprogress: () => {} }, 'onprogress'],
    [null, 'null'],
  ])('%o as options is an error', async (options, message) => {
    const made = attention().tune(problem, options as object);
    await expect(made).rejects.toMatchObject({ code: 'option', message: expect.stringContaining(message) });
  });

  test.each([
    [{ adapter: 'another', fastest: {} }, /tuning was measured on "another", this device is .*: tune again/],
    [{}, /tuning is \{\}: need what tune\(\) gave/],
    [null, /tuning is null/],
    [{ adapter: 'x', fastest: { a: { algorithm: 'both' } } }, /need what tune\(\) gave/],
    [{ adapter: 'x', fastest: { a: { algorithm: 'fused', variant: { 'flash_forward.TILE_N': 64 } } } }, /need what tune\(\) gave/],
  ])('%j is an error', async (tuning, message) => {
    const made = createAttention({ device: attention().device, tuning: tuning as unknown as Tuning });
    await expect(made).rejects.toMatchObject({ code: 'option', message: expect.stringMatching(message) });
  });
});

test('one candidate of each kernel is compiled side by side, and nothing twice', async () => {
  const device = await requestDefaultDevice(); // where nothing is compiled yet
  const create = device.createComputePipelineAsync.bind(device);
  const labels: string[] = [];
  let waiting = 0;
  let most = 0;
  device.createComputePipelineAsync = (descriptor) => {
    labels.push(descriptor.label!);
    most = Math.max(most, ++waiting);
    return create(descriptor).finally(() => waiting--);
  };
  const on = await createAttention({ device });
  await on.tune(problem);
  on.destroy();
  device.destroy();
  expect(most).toBeGreaterThanOrEqual(4); // the three explicit kernels, which are one candidate, and flash_forward
  expect(new Set(labels).size).toBe(labels.length);
});

const facts = (more: object): DeviceFacts => ({
  ...{ maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupStorageSize: 16384, isSoftware: false, hasQuads: true },
  ...{ vendor: 'nvidia', architecture: 'ada', subgroupSizes: [32, 32], canFixSubgroupSize: false },
  ...more,
});
const SOFTWARE = { isSoftware: true, vendor: 'google', subgroupSizes: [4, 4] };

/** What is tried of a constant, by the candidates' variants. */
function valuesOf<Kernel extends keyof KernelVariants>(
  kernel: Kernel,
  name: keyof NonNullable<KernelVariants[Kernel]>,
  lists: ReturnType<typeof candidates>,
) {
  return [...new Set(lists.flat().map(({ variant }) => variant[kernel]?.[name]))].filter((value) => value !== undefined);
}

describe('candidates', () => {
  const prefill = { N: 256, M: 256, D: 64, Dv: 64 };
  const decode = { H: 32, Hk: 8, N: 1, M: 4096, D: 64, Dv: 64 };

  test.each([
    ['a GPU', prefill, facts({})],
    ['a GPU without subgroups', prefill, facts({ hasQuads: false })],
    ['a software device', prefill, facts(SOFTWARE)],
    ['few queries on a GPU', decode, facts({})],
    ['few queries on a software device', decode, facts(SOFTWARE)],
  ])('%s: the library’s own choice first, no variant twice, each one that the checks take', (_, sizes, device) => {
    const problem = problemOf(sizes);
    const lists = candidates(problem, device);
    expect(lists[0]![0]).toEqual({ algorithm: 'fused', variant: {} });
    const labels = lists.flat().map((candidate) => {
      const chosen = { ...problem, ...candidate };
      const { kernel, variant } =
        candidate.algorithm === 'fused'
          ? chooseFusedTiles(chosen, device)
          : { kernel: 'explicit', variant: chooseExplicitTiles(chosen, device) };
      return `${kernel} ${JSON.stringify(variant)}`;
    });
    expect(new Set(labels).size).toBe(labels.length);
    expect(labels[0]).toContain(chooseFusedTiles(problem, device).kernel);
  });

  test('other LANES, ROWS and SIZE where the kernels allow them', () => {
    const onGpu = candidates(problemOf(prefill), facts({}));
    expect(valuesOf('flash_forward_quad', 'LANES', onGpu).sort()).toEqual([16, 4, 8]);
    expect(valuesOf('flash_forward_quad', 'SIZE', onGpu)).toEqual([32, 128, 256]);
    expect(valuesOf('softmax', 'LANES', onGpu)).toEqual([4, 16, 64, 256]);
    const narrow = candidates(problemOf(prefill), facts({ vendor: '', subgroupSizes: [4, 4] }));
    expect(valuesOf('flash_forward_quad', 'LANES', narrow)).not.toContain(8);
    const few = candidates(problemOf(decode), facts({}));
    expect(valuesOf('flash_decode', 'LANES', few).sort()).toEqual([16, 32, 8]);
    expect(valuesOf('flash_decode', 'ROWS', few).sort()).toEqual([1, 2, 4]);
    expect(valuesOf('flash_decode', 'SIZE', few)).toEqual([32, 128]); // 256 need more workgroup memory than there is
    const onCpu = candidates(problemOf(decode), facts(SOFTWARE));
    expect(valuesOf('flash_decode', 'SIZE', onCpu)).toContain(8);
    expect(valuesOf('flash_forward_row', 'SIZE', onCpu)).toEqual([8, 16]);
  });

  test('explicit alone where the fused pass cannot be', () => {
    const lists = candidates(problemOf({ ...prefill, D: 300 }), facts({}));
    expect(lists.length).toBe(1);
    expect(lists[0]![0]).toEqual({ algorithm: 'explicit', variant: {} });
  });
});
