/** Every variant that the tiles can choose compiles without a message. */
import { expect, test } from 'vitest';
import { context } from '../src/kernels/context.ts';
import { flashForward } from '../src/kernels/flash_forward.ts';
import { flashForwardQuad } from '../src/kernels/flash_forward_quad.ts';
import { flashForwardRow } from '../src/kernels/flash_forward_row.ts';
import { describeVariant, type Kernel, type Variant } from '../src/kernels/kernel.ts';
import { normalizeProjection, project } from '../src/kernels/project.ts';
import { quadProbe } from '../src/kernels/quad_probe.ts';
import { scores } from '../src/kernels/scores.ts';
import { softmax } from '../src/kernels/softmax.ts';
import { enabled } from '../src/pipelines.ts';
import { specialize } from '../src/specialize.ts';
import { chooseExplicitTiles, chooseFusedTiles, chooseProjectTiles, type DeviceFacts } from '../src/tiles.ts';
import { onDevices } from './rig/gpu.ts';
import { problemOf } from './rig/kernel.ts';

const FUSED = { flash_forward: flashForward, flash_forward_quad: flashForwardQuad, flash_forward_row: flashForwardRow };

function everyVariant(): Map<string, [Kernel, Variant]> {
  const found = new Map<string, [Kernel, Variant]>();
  const add = (kernel: Kernel, variant: Variant) => found.set(`${kernel.name} ${describeVariant(variant)}`, [kernel, variant]);
  for (const isSoftware of [false, true]) {
    const facts: DeviceFacts = {
      ...{ maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupStorageSize: 16384, isSoftware, hasQuads: false },
      ...{ vendor: '', architecture: '', subgroupSizes: [4, 128], canFixSubgroupSize: false },
    };
    for (const length of Array.from({ length: 14 }, (_, i) => 2 ** i + 1)) {
      for (const width of [1, 64, 100, 256]) {
        for (const options of [{}, { isCausal: true, dropout: { probability: 0.5, seed: 1 } }]) {
          for (const dtype of ['f32', 'f16'] as const) {
            const problem = problemOf({ N: length, M: length, D: width, Dv: width }, options, dtype);
            const tiles = chooseExplicitTiles(problem, facts);
            add(scores, tiles.scores.variant);
            add(softmax, tiles.softmax.variant);
            add(context, tiles.context.variant);
            for (const hasQuads of [false, true]) {
              const { kernel, variant } = chooseFusedTiles(problem, { ...facts, hasQuads });
              add(FUSED[kernel], variant);
            }
          }
        }
        const matrix = { shape: [length, width], dtype: 'f32' as const };
        add(project, chooseProjectTiles(normalizeProjection(matrix, { shape: [width, width], dtype: 'f32' }, undefined), facts).variant);
      }
    }
  }
  add(quadProbe, {});
  return found;
}

onDevices('variants', (attention) => {
  test.each([...everyVariant()])('%s', async (label, [kernel, variant]) => {
    const { device } = attention();
    const enable = enabled(kernel, variant);
    const feature: Record<string, GPUFeatureName> = { f16: 'shader-f16', subgroups: 'subgroups' };
    if (enable.some((name) => !device.features.has(feature[name]!))) return; // such a device takes no such variant
    const module = device.createShaderModule({
      label,
      code: specialize((await kernel.source()).default, variant, enable, variant.VEC4 ? kernel.vec4 : []),
    });
    const { messages } = await module.getCompilationInfo();
    expect(messages.map(({ lineNum, message }) => `${kernel.name}.wgsl:${lineNum} ${message}`)).toEqual([]);
    await device.createComputePipelineAsync({ label, layout: 'auto', compute: { module } });
  });
});
