/** Grids that are longer than a device dispatches in one dimension. The device here is told to dispatch 7 workgroups; test/large has real sizes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { foldGrid } from '../../src/gpu/program.ts';
import { type Attention, createAttention } from '../../src/index.ts';
import { sharedAttention } from '../rig/gpu.ts';
import { expectManyHeads, expectManyRows, expectMaskGradient } from '../rig/many-heads.ts';

test('a grid is folded only where it is too long', () => {
  const step = (...grid: [number, number, number]) => ({
    kernel: { name: 'k', source: async () => ({ default: '' }), bindings: [] },
    variant: {},
    params: [],
    grid,
  });
  expect(foldGrid('test', step(7, 5, 3), 7)).toEqual([7, 5, 3]);
  expect(foldGrid('test', step(8, 1, 1), 7)).toEqual([4, 2, 1]);
  expect(foldGrid('test', step(5, 8, 3), 7)).toEqual([7, 6, 3]);
  expect(() => foldGrid('test', step(70_000, 70_000, 1), 65_535)).toThrow(
    /^test: k needs 70000 × 70000 × 1 workgroups: at most 2\^32 can be numbered/,
  );
});

/** Makes a device say that it dispatches fewer workgroups in one dimension than it does. @returns what undoes it */
function dispatchFew(device: GPUDevice): () => void {
  const limits = new Proxy(device.limits, {
    get: (target, name) => (name === 'maxComputeWorkgroupsPerDimension' ? 7 : Reflect.get(target, name, target)),
  });
  Object.defineProperty(device, 'limits', { value: limits, configurable: true });
  return () => Reflect.deleteProperty(device, 'limits');
}

describe.each(['own device', 'default device'] as const)('folded grids, %s', (kind) => {
  let on: Attention;
  let undo: () => void;
  beforeAll(async () => {
    const { device } = await sharedAttention(kind);
    undo = dispatchFew(device);
    on = await createAttention({ device });
  });
  afterAll(() => {
    on.destroy();
    undo();
  });

  test.each([
    [31, 1],
    [3, 17],
  ])('B %d, H %d: forward, backward and merge', (B, H) => expectManyHeads(on, B, H, [0, 6, 7, 13, 14, B * H - 1]));
  test('the gradient of a mask of 40 batch elements', () => expectMaskGradient(on, 40, [0, 6, 7, 39]));
  test('project and its gradient: 1,000 rows', () => expectManyRows(on, 1000, [0, 111, 112, 113, 999]));
});
