/** 70,000 heads and 1,600,000 rows, in every kernel. */
import { test } from 'vitest';
import { onDevices } from '../rig/gpu.ts';
import { expectManyHeads, expectManyRows, expectMaskGradient } from '../rig/many-heads.ts';

const AROUND_THE_LIMIT = [0, 1, 32_767, 65_534, 65_535, 65_536, 70_000];

onDevices('many heads', (attention) => {
  test.each([
    [70_001, 1],
    [2, 35_003],
  ])('B %d, H %d: forward, backward and merge', (B, H) => expectManyHeads(attention(), B, H, AROUND_THE_LIMIT));
  test('the gradient of a mask of 70,000 batch elements', () => expectMaskGradient(attention(), 70_000, [0, 65_535, 65_536, 69_999]));
  test('project and its gradient: 1,600,000 rows', () =>
    expectManyRows(attention(), 1_600_000, [0, 15, 1_048_575, 1_048_576, 1_048_577, 1_599_999]));
});
