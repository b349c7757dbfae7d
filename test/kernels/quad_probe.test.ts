import { expect, test } from 'vitest';
import { hasOrderedQuads } from '../../src/tiles/facts.ts';
import { onDevices } from '../rig/gpu.ts';

onDevices('quad_probe', (attention) => {
  test('answers once and for all, and false without subgroups', async () => {
    const { device } = attention();
    const answer = hasOrderedQuads(device);
    if (!device.features.has('subgroups')) expect(await answer).toBe(false);
    else expect(hasOrderedQuads(device)).toBe(answer);
    expect(typeof (await answer)).toBe('boolean');
  });

  test('false where a neighbour is another than its index says', async ({ skip }) => {
    const { features } = attention().device;
    skip(!features.has('subgroups') || !(await hasOrderedQuads(attention().device)), 'needs ordered quads');
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter!.requestDevice({ requiredFeatures: ['subgroups' as GPUFeatureName] });
    const create = device.createShaderModule.bind(device);
    device.createShaderModule = (descriptor) =>
      create({ ...descriptor, code: descriptor.code.replace('quadSwapX(index)', 'quadSwapY(index)') });
    expect(await hasOrderedQuads(device)).toBe(false);
    device.destroy();
  });
});
