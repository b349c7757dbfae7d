/** The description of a kernel, as data: everything that the host needs to launch a shader. */
import { BYTES, type Layout } from '../contract/tensor.ts';

/** A binding of a shader. Its number is its index in `Kernel.bindings`. */
export interface Binding {
  readonly name: string;
  readonly access: 'read' | 'write' | 'uniform'; // var<storage, read>, var<storage, read_write>, var<uniform>
}

export interface Kernel {
  readonly name: string; // the stem of its shader's file
  readonly source: () => Promise<{ readonly default: string }>; // the shader's text, loaded when it is first compiled
  readonly bindings: readonly Binding[];
  readonly enable?: readonly string[]; // WGSL features that every variant needs; f16 is added where a type of the variant is f16
  readonly vec4?: (variant: Variant) => readonly string[]; // with VEC4: lines that replace the shader's one-line loads and stores, four elements at once
  readonly lines?: (variant: Variant) => readonly string[]; // lines that replace other one-line declarations of the shader
}

/** Names of what a variant sets, as a shader declares them: `alias NAME` for the type that a tensor stores, `const NAME: u32`, `const NAME: bool`. */
type Constants = Readonly<Record<'alias' | 'u32' | 'bool', readonly string[]>>;

/** A kernel whose constants a caller may force with the option `variant`. */
export interface TunableKernel<Name extends string = string, Own extends Constants = Constants> extends Kernel {
  readonly name: Name;
  readonly constants: Own;
}

/** The record itself, with its own name and constants as its type. */
export const tunable = <const Name extends string, const Own extends Constants>(
  kernel: TunableKernel<Name, Own>,
): TunableKernel<Name, Own> => kernel;

/** What a tensor of numbers stores. */
export type FloatType = 'f32' | 'f16';

/** A value for each constant of a kernel. */
export type VariantOf<K extends TunableKernel> = { readonly [Name in K['constants']['alias'][number]]: FloatType } & {
  readonly [Name in K['constants']['u32'][number]]: number;
} & { readonly [Name in K['constants']['bool'][number]]: boolean };

/** Values of a shader's `const` lines. */
export type Variant = Readonly<Record<string, number | boolean | string>>;
/** `TILE_N=64 TILE_M=64`: how labels and messages spell a variant. */
export const describeVariant = (variant: Variant): string =>
  Object.entries(variant)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');

/** One field of the uniform struct. A list of them has the struct's order. */
export type Param = readonly [name: string, type: 'u32' | 'i32' | 'f32', value: number];
/** Workgroups in x, y and z. */
export type Grid = readonly [number, number, number];

/** Workgroups for `count` elements, 64 a workgroup, up to WebGPU's default limit of 65535. With more elements, each invocation of the shader takes several. */
export const linearGrid = (count: number): Grid => [Math.min(Math.ceil(count / 64), 65535), 1, 1];

/** One launch of a kernel. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly variant: Variant;
  readonly params: readonly Param[];
  readonly grid: Grid;
  readonly settings?: Variant; // values that were chosen but are no `const`, such as SPLITS
}

/**
 * A launch whose uniforms begin with its grid. The shader computes a workgroup's position by `grid_position` of shaders/parts/grid.wgsl. The grid may
 * therefore be longer than a device can dispatch in one dimension: foldGrid in program.ts folds it.
 */
export const gridDispatch = (kernel: Kernel, variant: Variant, grid: Grid, params: readonly Param[]): Dispatch => ({
  kernel,
  variant,
  params: [['grid_x', 'u32', grid[0]], ['grid_y', 'u32', grid[1]], ['grid_z', 'u32', grid[2]], ...params],
  grid,
});

export const read = (name: string): Binding => ({ name, access: 'read' });
export const write = (name: string): Binding => ({ name, access: 'write' });
export const uniform = (name: string): Binding => ({ name, access: 'uniform' });

/** The same variant, typed as numbers for arithmetic with tile sizes. */
export const numbers = <Name extends string>(variant: Variant): Record<Name, number> => variant as Record<Name, number>;

/**
 * Elements from the beginning of a tensor's binding to the tensor. A binding starts at a multiple of `alignment` bytes, a tensor at a multiple of 4 bytes.
 * 0 for an absent tensor.
 */
export function elementOffset(layout: Layout | undefined, alignment: number): number {
  if (!layout) return 0;
  return (layout.offset % alignment) / BYTES[layout.dtype];
}

/** Offset and strides of a tensor as uniforms, in elements: `q_offset`, `q_b`, `q_h`, `q_n` for the axes `bhn`. All are 0 for an absent tensor. */
export function viewParams(name: string, layout: Layout | undefined, axes: string, alignment: number): Param[] {
  const strides = [...axes].map((axis, i): Param => [`${name}_${axis}`, 'u32', layout?.strides[i] ?? 0]);
  return [[`${name}_offset`, 'u32', elementOffset(layout, alignment)], ...strides];
}

/** The bytes of the uniform struct. Every field is 4 bytes, little endian. */
export function packParams(params: readonly Param[]): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(params.length * 4));
  for (const [i, [, type, value]] of params.entries()) {
    if (type === 'f32') view.setFloat32(i * 4, value, true);
    else if (type === 'i32') view.setInt32(i * 4, value, true);
    else view.setUint32(i * 4, value, true);
  }
  return view.buffer as ArrayBuffer;
}

type Rows = Readonly<Record<string, 'Q' | 'K'>>; // the alias of a binding's element type, by the binding's name

/**
 * `Kernel.vec4` of the kernels whose invocations hold whole rows. The binding is an array of units of four elements; a row begins at unit `row`.
 * Four f16 are loaded as two u32: compilers for the CPU gather 32 bits for all lanes at once, but 16 bits lane by lane. On lavapipe with 8 lanes, heads of
 * 64 then take half the time to run, and a quarter of the time to compile.
 */
export const rowLines = (variant: Variant, inputs: Rows, outputs: Rows): string[] => [
  ...(['Q', 'K'] as const).map((type) => `alias ${type}_UNIT = ${variant[type] === 'f16' ? 'vec2u' : `vec4<${type}>`};`),
  ...Object.entries(inputs).map(([name, type]) => {
    const unit = `${name}[row + vec]`;
    return `fn load_${name}(row: u32, vec: u32) -> vec4f { return vec4f(${variant[type] === 'f16' ? `bitcast<vec4h>(${unit})` : unit}); }`;
  }),
  ...Object.entries(outputs).map(([name, type]) => {
    const stored = variant[type] === 'f16' ? 'bitcast<vec2u>(vec4h(value))' : `vec4<${type}>(value)`;
    return `fn store_${name}(row: u32, vec: u32, value: vec4f) { ${name}[row + vec] = ${stored}; }`;
  }),
];

/** For `Kernel.vec4`: the line of `load_…` that reads a row of `width` elements as vec4. Past the row's end it reads the last four elements. */
export const vec4Load = (name: string, width: string): string =>
  `fn load_${name}(row: u32, d: u32) -> vec4f { return vec4f(${name}[(row + min(d, params.${width} - 4)) / 4]); }`;

/** For `Kernel.vec4`: the line of `store_…` that writes a row of `width` elements as vec4. Past the row's end it writes nothing. */
export const vec4Store = (name: string, width: string, type: string): string =>
  `fn store_${name}(row: u32, d: u32, value: vec4f) { if (d < params.${width}) { ${name}[(row + d) / 4] = vec4<${type}>(value); } }`;
