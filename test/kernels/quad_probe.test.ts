import { expect, test } from 'vitest';
import { hasOrderedQuads } from '../../src/probe.ts';
import { onDevices } from '../rig/gpu.ts';

onDevices('quad_probe', (attention) => {
  test('answers once and for all, and false without subgroups', async () => {
    const { device } = attention();
    const answer = hasOrderedQuads(device);
    if (!device.features.has('subgroups')) expect(await answer).toBe(false);
    else expect(hasOrderedQuads(device)).toBe(answer);
    expect(typeof (await answer)).toBe('boolean');
  });
});
