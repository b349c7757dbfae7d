/** tune measures on the device at hand, and what it gives is used: here, and by another Attention on the same adapter. */
import { expect, test } from 'vitest';
import { type Attention, type AttentionOptions, createAttention, type Tuning } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { describeAdapter } from '../../src/tuning.ts';
import { onDevices, requestDefaultDevice } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { expectNear } from '../rig/tolerance.ts';

const [H, N, D] = [2, 33, 16];
const layout = { shape: [1, H, N, D], dtype: 'f32' } as const;
const problem = { q: layout, k: layout, v: layout };

onDevices('tune', (attention) => {
  const kernelsOf = async (options: AttentionOptions, on: Attention) => {
    const plan = await on.plan({ ...problem, ...(options as object) });
    plan.destroy();
    return plan.kernels;
  };

  test('gives plain JSON, and later calls of its class use the fastest', async () => {
    const on = await createAttention({ device: attention().device }); // its own: what it measures would change every later call of the other
    const tuning = await on.tune(problem);
    const [entry] = Object.values(tuning.fastest);
    expect(JSON.parse(JSON.stringify(tuning))).toEqual(tuning);
    expect(entry!.milliseconds).toBeGreaterThan(0);
    const kernels = await kernelsOf({}, on);
    expect(kernels.length).toBe(entry!.algorithm === 'explicit' ? 3 : 1);
    for (const [name, value] of Object.entries(entry!.variant)) {
      const [kernel, constant] = name.split('.') as [string, string];
      expect(kernels[0]).toMatchObject({ name: kernel, variant: { [constant]: value } });
    }
    for (const { reason } of kernels) expect(reason).toContain('the fastest that tune measured');
    // What the caller asks for goes first; other classes are as before.
    expect((await kernelsOf({ variant: { 'flash_forward.TILE_N': 8 } }, on))[0]).toMatchObject({
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

  test('a forced choice in the tuning is used', async () => {
    const on = attention();
    const first = await createAttention({ device: on.device });
    const { adapter, fastest } = await first.tune({ ...problem, softcap: 1 });
    first.destroy();
    const [key] = Object.keys(fastest) as [string];
    const tuning: Tuning = {
      adapter,
      fastest: { [key]: { algorithm: 'fused', variant: { 'flash_forward.TILE_N': 64 }, milliseconds: 1 } },
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

  test.each([
    [{ adapter: 'another', fastest: {} }, /tuning was measured on "another", this device is .*: tune again/],
    [{}, /tuning is \{\}: need what tune\(\) gave/],
    [null, /tuning is null/],
    [{ adapter: 'x', fastest: { a: { algorithm: 'both' } } }, /need what tune\(\) gave/],
  ])('%j is an error', async (tuning, message) => {
    const made = createAttention({ device: attention().device, tuning: tuning as unknown as Tuning });
    await expect(made).rejects.toMatchObject({ code: 'option', message: expect.stringMatching(message) });
  });
});
