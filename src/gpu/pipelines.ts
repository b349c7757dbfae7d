/** Compute pipelines by device, kernel and variant. Each is compiled once. */
import { AttentionError } from '../contract/errors.ts';
import { popErrorScope } from './device.ts';
import { type Binding, describeVariant, type Kernel, type Variant } from './kernel.ts';
import { STAGE_COMPUTE } from './native.ts';
import { specialize } from './specialize.ts';

const devices = /* @__PURE__ */ new WeakMap<GPUDevice, Map<string, Promise<GPUComputePipeline>>>();

const TYPES: Record<Binding['access'], GPUBufferBindingType> = { read: 'read-only-storage', write: 'storage', uniform: 'uniform' };

/**
 * The pipeline of a kernel with these `const` values. A compilation that fails is not kept.
 * @throws AttentionError 'compile' with the compiler's messages at the lines of the shader's files
 */
export function getPipeline(device: GPUDevice, kernel: Kernel, variant: Variant): Promise<GPUComputePipeline> {
  let pipelines = devices.get(device);
  if (!pipelines) {
    pipelines = new Map();
    devices.set(device, pipelines);
  }
  const label = `${kernel.name} ${describeVariant(variant)}`;
  const known = pipelines.get(label);
  if (known) return known;
  const pipeline = compile(device, kernel, variant, label);
  pipelines.set(label, pipeline);
  pipeline.catch(() => pipelines.delete(label));
  return pipeline;
}

/** The WGSL features that a variant needs. */
export function enabled({ enable = [] }: Kernel, variant: Variant): string[] {
  const f16 = Object.values(variant).includes('f16') ? ['f16'] : [];
  return [...f16, ...enable, ...(variant.WIDTH ? ['subgroup_size_control'] : [])];
}

/** A kernel's text with a variant's values. */
export function specialized(kernel: Kernel, variant: Variant, source: string): string {
  const vec4 = variant.VEC4 ? (kernel.vec4?.(variant) ?? []) : [];
  const width = variant.WIDTH ? ['@compute @workgroup_size(SIZE) @subgroup_size(WIDTH)'] : [];
  return specialize(source, variant, enabled(kernel, variant), [...vec4, ...(kernel.lines?.(variant) ?? []), ...width]);
}

/** The file and line that a line of a shader's text comes from. The nearest mark `//! parts/x.wgsl` above it names a part; without one it is the kernel's. */
function lineOf({ name }: Kernel, code: string, line: number): string {
  const lines = code.split('\n').slice(0, line);
  const mark = lines.findLastIndex((text) => text.startsWith('//! parts/'));
  return mark < 0 ? `${name}.wgsl:${line}` : `${lines[mark]!.slice('//! '.length)}:${line - mark - 1}`;
}

async function compile(device: GPUDevice, kernel: Kernel, variant: Variant, label: string): Promise<GPUComputePipeline> {
  const { default: source } = await kernel.source();
  device.pushErrorScope('validation');
  const code = specialized(kernel, variant, source);
  const module = device.createShaderModule({ label, code });
  const entries = kernel.bindings.map(({ access }, binding) => ({
    binding,
    visibility: STAGE_COMPUTE,
    buffer: { type: TYPES[access] },
  }));
  const layout = device.createPipelineLayout({ label, bindGroupLayouts: [device.createBindGroupLayout({ label, entries })] });
  const pipeline = device.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: 'main' } });
  const scope = popErrorScope(device);
  try {
    const [compiled, error] = await Promise.all([pipeline, scope]);
    if (error) throw error;
    return compiled;
  } catch (error) {
    const { messages } = await module.getCompilationInfo();
    const lines = messages.map(
      ({ type, lineNum, linePos, message }) => `\n  ${lineOf(kernel, code, lineNum)}:${linePos} ${type}: ${message}`,
    );
    throw new AttentionError('compile', `${label}: ${(error as Error).message}${lines.join('')}`, { cause: error });
  }
}
