/**
 * The variants that the tiles choose at lengths and head sizes on either side of each choice, on the device at hand and on other vendors' GPUs with the
 * same features, are WGSL that the browser takes without a message, and so is every shader as it is committed. The other suites make pipelines of many of them, which takes software devices minutes for all; `npm run lab` compiles those
 * that need more features.
 */
import { expect, test } from 'vitest';
import { normalizeBackward } from '../../src/contract/backward-problem.ts';
import type { Problem } from '../../src/contract/problem.ts';
import { describeVariant, type Kernel, type TunableKernel, type Variant } from '../../src/gpu/kernel.ts';
import { enabled, specialized } from '../../src/gpu/pipelines.ts';
import { context } from '../../src/kernels/context.ts';
import { flashBackwardDelta } from '../../src/kernels/flash_backward_delta.ts';
import { flashBackwardDkv } from '../../src/kernels/flash_backward_dkv.ts';
import { flashBackwardDkvQuad } from '../../src/kernels/flash_backward_dkv_quad.ts';
import { flashBackwardDkvRow } from '../../src/kernels/flash_backward_dkv_row.ts';
import { flashBackwardDq } from '../../src/kernels/flash_backward_dq.ts';
import { flashBackwardDqQuad } from '../../src/kernels/flash_backward_dq_quad.ts';
import { flashBackwardDqRow } from '../../src/kernels/flash_backward_dq_row.ts';
import { flashBackwardMask } from '../../src/kernels/flash_backward_mask.ts';
import { flashBackwardSinks } from '../../src/kernels/flash_backward_sinks.ts';
import { flashDecode, flashDecodeDispatch } from '../../src/kernels/flash_decode.ts';
import { flashForward } from '../../src/kernels/flash_forward.ts';
import { flashForwardQuad } from '../../src/kernels/flash_forward_quad.ts';
import { flashForwardRow } from '../../src/kernels/flash_forward_row.ts';
import { normalizeProjection, project } from '../../src/kernels/project.ts';
import { scores } from '../../src/kernels/scores.ts';
import { softmax } from '../../src/kernels/softmax.ts';
import { chooseBackwardTiles } from '../../src/tiles/backward.ts';
import { chooseExplicitTiles } from '../../src/tiles/explicit.ts';
import { basicFacts, type DeviceFacts, deviceFacts } from '../../src/tiles/facts.ts';
import { chooseFusedTiles } from '../../src/tiles/fused.ts';
import { chooseProjectTiles } from '../../src/tiles/project.ts';
import { onDevices } from '../rig/gpu.ts';
import { problemOf } from '../rig/kernel.ts';

const FUSED = { flash_forward: flashForward, flash_forward_quad: flashForwardQuad, flash_forward_row: flashForwardRow };
const BACKWARD = {
  flash_backward_dq: flashBackwardDq,
  flash_backward_dkv: flashBackwardDkv,
  flash_backward_dq_row: flashBackwardDqRow,
  flash_backward_dkv_row: flashBackwardDkvRow,
  flash_backward_dq_quad: flashBackwardDqQuad,
  flash_backward_dkv_quad: flashBackwardDkvQuad,
  flash_backward_mask: flashBackwardMask,
};

const OPTIONS = [
  ['f32', {}],
  ['f16', {}],
  ['f32', { softcap: 1, alibiSlopes: true, window: [9, 9], dropout: { probability: 0.5, seed: 1 }, mask: { shape: [1], dtype: 'f32' } }],
  ['f16', { mask: { shape: [1], dtype: 'f16' } }],
  ['f32', { mask: { shape: [1], dtype: 'bool' } }],
] as const;

type Add = (kernel: Kernel, variant: Variant) => void;

/** On either side of every length at which a tile changes, and head sizes of every number of blocks: multiples of 4 and others. */
const LENGTHS = [1, 5, 16, 33, 64, 129, 1025];
const WIDTHS = [16, 32, 64, 96, 100, 128, 160, 192, 224, 256];

function addBackward(add: Add, facts: DeviceFacts): void {
  const mask = { shape: [1], dtype: 'f32' as const };
  for (const dtype of ['f32', 'f16'] as const) {
    add(flashBackwardDelta, { Q: dtype });
    for (const length of [1, 5, 16, 64]) {
      for (const width of [16, 33, 64, 100, 128, 160, 192, 256]) {
        const scoreOptions = width === 64 ? OPTIONS.slice(2).map(([, options]) => options) : [];
        for (const options of [{}, { mask, dropout: { probability: 0.5, seed: 1 } }, ...scoreOptions]) {
          const problem = problemOf({ N: length, M: length, D: width, Dv: width }, options, dtype);
          const tiles = chooseBackwardTiles(
            normalizeBackward('test', problem, { maskGradient: (problem.mask?.dtype ?? 'bool') !== 'bool' }),
            facts,
          );
          for (const { kernel, variant } of Object.values(tiles)) add(BACKWARD[kernel], variant);
        }
      }
    }
  }
  add(flashBackwardSinks, {});
}

function addExplicit(add: Add, problem: Problem, facts: DeviceFacts): void {
  const tiles = chooseExplicitTiles(problem, facts);
  add(scores, tiles.scores.variant);
  add(softmax, tiles.softmax.variant);
  add(context, tiles.context.variant);
}

function addForward(add: Add, facts: DeviceFacts): void {
  for (const rows of [1, 4, 16]) {
    for (const D of WIDTHS) {
      for (const [dtype, options] of D === 64 ? OPTIONS : OPTIONS.slice(0, 2)) {
        const problem = problemOf({ H: rows, Hk: 1, N: 1, M: 4096, D, Dv: D }, options, dtype);
        const { kernel, variant } = chooseFusedTiles(problem, facts);
        expect(kernel).toBe('flash_decode');
        add(flashDecode, flashDecodeDispatch(problem, variant, 256).variant);
        addExplicit(add, problem, facts);
      }
    }
  }
  for (const length of LENGTHS) {
    for (const width of WIDTHS) {
      const scoreOptions = width === 64 ? OPTIONS.slice(2).map(([, options]) => options) : [];
      for (const options of [{}, { isCausal: true, dropout: { probability: 0.5, seed: 1 } }, ...scoreOptions]) {
        for (const dtype of ['f32', 'f16'] as const) {
          const problem = problemOf({ N: length, M: length, D: width, Dv: width }, options, dtype);
          addExplicit(add, problem, facts);
          const { kernel, variant } = chooseFusedTiles(problem, facts);
          if (kernel !== 'flash_decode') add(FUSED[kernel], variant);
        }
      }
      const matrix = { shape: [length, width], dtype: 'f32' as const };
      add(project, chooseProjectTiles(normalizeProjection(matrix, { shape: [width, width], dtype: 'f32' }, undefined), facts).variant);
    }
  }
}

const VENDORS = [
  { vendor: 'amd', architecture: 'rdna-3', subgroupSizes: [32, 64] },
  { vendor: 'intel', architecture: 'xe', subgroupSizes: [8, 32] },
  { vendor: 'nvidia', architecture: 'ampere', subgroupSizes: [32, 32] },
  { vendor: 'apple', architecture: 'metal-3', subgroupSizes: [32, 32] },
  { vendor: 'qualcomm', architecture: 'adreno-7xx', subgroupSizes: [64, 128] },
] as const;

/** What can be chosen on the device at hand or a vendor's GPU, by kernel. */
function everyVariant(own: DeviceFacts): Map<string, [Kernel, Variant]> {
  const found = new Map<string, [Kernel, Variant]>();
  const add: Add = (kernel, variant) => found.set(`${kernel.name} ${describeVariant(variant)}`, [kernel, variant]);
  for (const facts of [own, ...VENDORS.map((vendor) => ({ ...own, ...vendor, isSoftware: false }))]) {
    addForward(add, facts);
    addBackward(add, facts);
  }
  return found;
}

/** What callers may force, SPLITS apart, which is no constant of the shader. */
const constantsOf = ({ constants }: TunableKernel): string[] =>
  Object.values(constants)
    .flat()
    .filter((constant) => constant !== 'SPLITS')
    .sort();

const KERNELS = [scores, softmax, context, project, flashDecode, flashBackwardDelta, flashBackwardSinks];

onDevices('variants', (attention) => {
  let variants: Map<string, [Kernel, Variant]> | undefined;
  test.for(Object.entries(import.meta.glob<string>('../../shaders/*.wgsl', { query: '?raw', import: 'default' })))(
    '%s as it is committed',
    async ([, load], { skip }) => {
      const code = await load();
      const { device } = attention();
      skip(code.startsWith('enable subgroups;') && !device.features.has('subgroups'), 'needs subgroups');
      const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
      expect(messages.map(({ lineNum, message }) => `${lineNum} ${message}`)).toEqual([]);
    },
  );

  test.for([...KERNELS, ...Object.values(FUSED), ...Object.values(BACKWARD)])('$name', async ({ name }, { skip }) => {
    const { device } = attention();
    let taken = 0;
    variants ??= everyVariant(await deviceFacts(device));
    for (const [label, [kernel, variant]] of variants) {
      if (kernel.name === name && 'constants' in kernel)
        expect(Object.keys(variant).sort(), label).toEqual(constantsOf(kernel as TunableKernel));
      const isHere = kernel.name === name && (!enabled(kernel, variant).includes('f16') || device.features.has('shader-f16'));
      if (!isHere) continue;
      const module = device.createShaderModule({ label, code: specialized(kernel, variant, (await kernel.source()).default) });
      const { messages } = await module.getCompilationInfo();
      expect(messages.map(({ lineNum, message }) => `${label}: ${kernel.name}.wgsl:${lineNum} ${message}`)).toEqual([]);
      taken++;
    }
    skip(taken === 0, 'chosen on other devices only');
  });

  const software = () => ({ ...basicFacts(attention().device), hasQuads: true, isSoftware: true });
  test.each([
    ['D_TAIL', false, 20, 64, 'D_TAIL must be true here'],
    ['DV_TAIL', false, 64, 20, 'DV_TAIL must be true here'],
    ['VEC4', true, 10, 64, 'VEC4 is true: need D, Dv'],
  ])('%s cannot be %s for heads of %d and %d', (name, value, D, Dv, message) => {
    const problem = problemOf({ N: 8, M: 8, D, Dv }, { variant: { flash_forward_row: { [name]: value } } });
    const error = { code: 'option', message: expect.stringContaining(message) };
    expect(() => chooseFusedTiles(problem, software())).toThrow(expect.objectContaining(error));
  });

  const slopes = { shape: [1], dtype: 'f32' } as const;
  const mask = { shape: [8, 8], dtype: 'bool' } as const;
  test.each([
    ['SOFTCAP', false, { softcap: 20 }, 'SOFTCAP must be true here'],
    ['ALIBI', false, { alibiSlopes: slopes }, 'ALIBI must be true here'],
    ['MASK', 2, { mask }, 'MASK must be 1 here'],
    ['MASK', 0, { mask }, 'MASK must be 1 here'],
    ['MASK', 1, {}, 'MASK must be 0 here'],
  ])('%s cannot be %s for %o', (name, value, options, message) => {
    const error = expect.objectContaining({ code: 'option', message: expect.stringContaining(message) });
    const force = (kernel: string) => problemOf({ N: 8, M: 8, D: 64, Dv: 64 }, { ...options, variant: { [kernel]: { [name]: value } } });
    expect(() => chooseFusedTiles(force('flash_forward_row'), software())).toThrow(error);
    for (const kernel of ['flash_backward_dq_row', 'flash_backward_dkv_row']) {
      const problem = normalizeBackward('test', force(kernel), { maskGradient: false });
      expect(() => chooseBackwardTiles(problem, software())).toThrow(error);
    }
  });
});
