/** Every variant that the tiles can choose compiles without a message. */
import { expect, test } from 'vitest';
import { context } from '../src/kernels/context.ts';
import { flashForward } from '../src/kernels/flash_forward.ts';
import type { Kernel, Variant } from '../src/kernels/kernel.ts';
import { normalizeProjection, project } from '../src/kernels/project.ts';
import { scores } from '../src/kernels/scores.ts';
import { softmax } from '../src/kernels/softmax.ts';
import { enabled } from '../src/pipelines.ts';
import { specialize } from '../src/specialize.ts';
import { chooseExplicitTiles, chooseFusedTiles, chooseProjectTiles, describeVariant } from '../src/tiles.ts';
import { onDevices } from './rig/gpu.ts';
import { problemOf } from './rig/kernel.ts';

function everyVariant(): Map<string, [Kernel, Variant]> {
  const found = new Map<string, [Kernel, Variant]>();
  const add = (kernel: Kernel, variant: Variant) => found.set(`${kernel.name} ${describeVariant(variant)}`, [kernel, variant]);
  for (const isSoftware of [false, true]) {
    const facts = { maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupStorageSize: 16384, isSoftware };
    for (const length of Array.from({ length: 14 }, (_, i) => 2 ** i + 1)) {
      for (const width of [1, 64, 100, 256]) {
        for (const options of [{}, { isCausal: true, dropout: { probability: 0.5, seed: 1 } }]) {
          for (const dtype of ['f32', 'f16'] as const) {
            const problem = problemOf({ N: length, M: length, D: width, Dv: width }, options, dtype);
            const tiles = chooseExplicitTiles(problem, facts);
            add(scores, tiles.scores.variant);
            add(softmax, tiles.softmax.variant);
            add(context, tiles.context.variant);
            add(flashForward, chooseFusedTiles(problem, facts).flash_forward.variant);
          }
        }
        const matrix = { shape: [length, width], dtype: 'f32' as const };
        add(project, chooseProjectTiles(normalizeProjection(matrix, { shape: [width, width], dtype: 'f32' }, undefined), facts).variant);
      }
    }
  }
  return found;
}

onDevices('variants', (attention) => {
  test.each([...everyVariant()])('%s', async (label, [kernel, variant]) => {
    const { device } = attention();
    const enable = enabled(kernel, variant);
    if (enable.includes('f16') && !device.features.has('shader-f16')) return; // such a device refuses f16 before it compiles anything
    const module = device.createShaderModule({ label, code: specialize((await kernel.source()).default, variant, enable) });
    const { messages } = await module.getCompilationInfo();
    expect(messages.map(({ lineNum, message }) => `${kernel.name}.wgsl:${lineNum} ${message}`)).toEqual([]);
    await device.createComputePipelineAsync({ label, layout: 'auto', compute: { module } });
  });
});
