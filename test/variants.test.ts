/** Every variant that the tiles can choose compiles without a message. */
import { expect, test } from 'vitest';
import { normalizeBackward } from '../src/backward-problem.ts';
import { context } from '../src/kernels/context.ts';
import { flashBackwardDelta } from '../src/kernels/flash_backward_delta.ts';
import { flashBackwardDkv } from '../src/kernels/flash_backward_dkv.ts';
import { flashBackwardDkvRow } from '../src/kernels/flash_backward_dkv_row.ts';
import { flashBackwardDq } from '../src/kernels/flash_backward_dq.ts';
import { flashBackwardDqRow } from '../src/kernels/flash_backward_dq_row.ts';
import { flashBackwardMask } from '../src/kernels/flash_backward_mask.ts';
import { flashBackwardSinks } from '../src/kernels/flash_backward_sinks.ts';
import { flashDecode, flashDecodeDispatch } from '../src/kernels/flash_decode.ts';
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
import { chooseBackwardTiles } from '../src/tiles-backward.ts';
import { onDevices } from './rig/gpu.ts';
import { problemOf } from './rig/kernel.ts';

const FUSED = { flash_forward: flashForward, flash_forward_quad: flashForwardQuad, flash_forward_row: flashForwardRow };
const BACKWARD = {
  flash_backward_dq: flashBackwardDq,
  flash_backward_dkv: flashBackwardDkv,
  flash_backward_dq_row: flashBackwardDqRow,
  flash_backward_dkv_row: flashBackwardDkvRow,
  flash_backward_mask: flashBackwardMask,
};

const DECODE = [
  ['f32', {}],
  ['f16', {}],
  ['f32', { softcap: 1, alibiSlopes: true, window: [9, 9], dropout: { probability: 0.5, seed: 1 }, mask: { shape: [1], dtype: 'f32' } }],
  ['f16', { mask: { shape: [1], dtype: 'f16' } }],
  ['f32', { mask: { shape: [1], dtype: 'bool' } }],
] as const;

type Add = (kernel: Kernel, variant: Variant) => void;

function addBackward(add: Add): void {
  const facts: DeviceFacts = {
    ...{ maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupStorageSize: 16384, isSoftware: false, hasQuads: false },
    ...{ vendor: '', architecture: '', subgroupSizes: [4, 128], canFixSubgroupSize: false },
  };
  const mask = { shape: [1], dtype: 'f32' as const };
  for (const dtype of ['f32', 'f16'] as const) {
    add(flashBackwardDelta, { Q: dtype });
    for (const length of [1, 64]) {
      for (const width of [1, 33, 65, 128, 256]) {
        for (const options of [{}, { mask, dropout: { probability: 0.5, seed: 1 } }]) {
          const problem = problemOf({ N: length, M: length, D: width, Dv: width }, options, dtype);
          const tiles = chooseBackwardTiles(normalizeBackward('test', problem, { maskGradient: 'mask' in options }), facts);
          for (const { kernel, variant } of Object.values(tiles)) add(BACKWARD[kernel], variant);
        }
      }
    }
  }
  add(flashBackwardSinks, {});
}

/** Classes of GPUs; those with a subgroup size of their own compile only where it exists: `npm run lab` has them. */
const QUAD_CLASSES: Partial<DeviceFacts>[] = [
  { vendor: 'nvidia', subgroupSizes: [32, 32] },
  { subgroupSizes: [32, 32] },
  { subgroupSizes: [16, 32] },
  { subgroupSizes: [8, 32] },
];

function everyVariant(): Map<string, [Kernel, Variant]> {
  const found = new Map<string, [Kernel, Variant]>();
  const add = (kernel: Kernel, variant: Variant) => found.set(`${kernel.name} ${describeVariant(variant)}`, [kernel, variant]);
  for (const isSoftware of [false, true]) {
    const facts: DeviceFacts = {
      ...{ maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupStorageSize: 16384, isSoftware, hasQuads: false },
      ...{ vendor: '', architecture: '', subgroupSizes: [4, 128], canFixSubgroupSize: false },
    };
    for (const rows of [1, 4, 16]) {
      for (const D of [64, 100, 256]) {
        for (const [dtype, options] of D === 64 ? DECODE : DECODE.slice(0, 2)) {
          const problem = problemOf({ H: rows, Hk: 1, N: 1, M: 4096, D, Dv: D }, options, dtype);
          const { kernel, variant } = chooseFusedTiles(problem, facts);
          expect(kernel).toBe('flash_decode');
          add(flashDecode, flashDecodeDispatch(problem, variant, 256).variant);
        }
      }
    }
    for (const length of Array.from({ length: 14 }, (_, i) => 2 ** i + 1)) {
      for (const width of [1, 64, 100, 256]) {
        for (const options of [{}, { isCausal: true, dropout: { probability: 0.5, seed: 1 } }]) {
          for (const dtype of ['f32', 'f16'] as const) {
            const problem = problemOf({ N: length, M: length, D: width, Dv: width }, options, dtype);
            const tiles = chooseExplicitTiles(problem, facts);
            add(scores, tiles.scores.variant);
            add(softmax, tiles.softmax.variant);
            add(context, tiles.context.variant);
            const classes = [{ hasQuads: false }, { hasQuads: true }, ...QUAD_CLASSES.map((some) => ({ hasQuads: true, ...some }))];
            for (const some of classes) {
              const { kernel, variant } = chooseFusedTiles(problem, { ...facts, ...some });
              if (kernel !== 'flash_decode') add(FUSED[kernel], variant);
            }
          }
        }
        const matrix = { shape: [length, width], dtype: 'f32' as const };
        add(project, chooseProjectTiles(normalizeProjection(matrix, { shape: [width, width], dtype: 'f32' }, undefined), facts).variant);
      }
    }
  }
  addBackward(add);
  add(quadProbe, {});
  return found;
}

onDevices('variants', (attention) => {
  test.for([...everyVariant()])('%s', async ([label, [kernel, variant]], { skip }) => {
    const { device } = attention();
    const enable = enabled(kernel, variant);
    const feature: Record<string, GPUFeatureName> = { f16: 'shader-f16', subgroups: 'subgroups' };
    for (const name of enable) skip(!device.features.has(feature[name]!), `needs ${feature[name]}: such a device takes no such variant`);
    const module = device.createShaderModule({
      label,
      code: specialize((await kernel.source()).default, variant, enable, variant.VEC4 ? kernel.vec4 : []),
    });
    const { messages } = await module.getCompilationInfo();
    expect(messages.map(({ lineNum, message }) => `${kernel.name}.wgsl:${lineNum} ${message}`)).toEqual([]);
    await device.createComputePipelineAsync({ label, layout: 'auto', compute: { module } });
  });
});
