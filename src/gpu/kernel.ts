/** What a kernel file describes: everything the host needs to launch a shader, as data. */
import { BYTES, type Layout } from '../contract/tensor.ts';

/** How a shader uses a binding. The list's order is the binding number. */
export interface Binding {
  readonly name: string;
  readonly access: 'read' | 'write' | 'uniform'; // var<storage, read>, var<storage, read_write>, var<uniform>
}

export interface Kernel {
  readonly name: string; // the stem of its shader's file
  readonly source: () => Promise<{ readonly default: string }>; // the shader's text, loaded when it is first compiled
  readonly bindings: readonly Binding[];
  readonly enable?: readonly string[]; // WGSL features that every variant needs; f16 follows from the variant's types
  readonly vec4?: (variant: Variant) => readonly string[]; // one-line loads and stores of four elements, for specialize: where the variant has VEC4
  readonly lines?: (variant: Variant) => readonly string[]; // other one-line declarations that a variant replaces
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

/** One field of the uniform struct, in its order. */
export type Param = readonly [name: string, type: 'u32' | 'i32' | 'f32', value: number];
/** Workgroups in x, y and z. */
export type Grid = readonly [number, number, number];

/** Workgroups for `count` elements, 64 a workgroup: at most WebGPU's default limit, the shader's invocations go on to others from there. */
export const linearGrid = (count: number): Grid => [Math.min(Math.ceil(count / 64), 65535), 1, 1];

/** One launch of a kernel. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly variant: Variant;
  readonly params: readonly Param[];
  readonly grid: Grid;
  readonly settings?: Variant; // what was chosen beside the consts
}

/**
 * A launch whose uniforms begin with its grid. The shader finds its place in the grid by grid_place, so the grid may be longer than a device can dispatch
 * in one dimension: foldGrid in program.ts.
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

/** `const` values that are numbers, as the tile arithmetic needs them. */
export const numbers = <Name extends string>(variant: Variant): Record<Name, number> => variant as Record<Name, number>;

/**
 * Where a tensor begins, in elements after the place where its buffer is bound: bindings start at multiples of
 * `alignment` bytes, tensors at multiples of 4.
 */
export function elementOffset(layout: Layout | undefined, alignment: number): number {
  if (!layout) return 0;
  return (layout.offset % alignment) / BYTES[layout.dtype];
}

/** The uniforms that say where a view's elements lie: `q_offset`, `q_b`, `q_h`, `q_n` for the axes `bhn`. All 0 for one that is absent. */
export function viewParams(name: string, layout: Layout | undefined, axes: string, alignment: number): Param[] {
  const strides = [...axes].map((axis, i): Param => [`${name}_${axis}`, 'u32', layout?.strides[i] ?? 0]);
  return [[`${name}_offset`, 'u32', elementOffset(layout, alignment)], ...strides];
}

/** The uniform struct's bytes: every field is 4 bytes, little endian. */
export function packParams(params: readonly Param[]): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(params.length * 4));
  for (const [i, [, type, value]] of params.entries()) {
    if (type === 'f32') view.setFloat32(i * 4, value, true);
    else if (type === 'i32') view.setInt32(i * 4, value, true);
    else view.setUint32(i * 4, value, true);
  }
  return view.buffer as ArrayBuffer;
}

type Rows = Readonly<Record<string, 'Q' | 'K'>>; // by a binding's name the alias of its type

/**
 * `Kernel.vec4` of the kernels that hold whole rows, where a row begins at the binding's `row`-th. Four f16 are two u32 there: compilers for the CPU
 * gather 32 bits for all lanes at once, and 16 bits lane by lane. On lavapipe with 8 lanes heads of 64 take half the time, and a quarter to compile.
 */
export const rowLines = (variant: Variant, inputs: Rows, outputs: Rows): string[] => [
  ...(['Q', 'K'] as const).map((type) => `alias ${type}_UNIT = ${variant[type] === 'f16' ? 'vec2u' : `vec4<${type}>`};`),
  ...Object.entries(inputs).map(([name, type]) => {
    const own = `${name}[row + vec]`;
    return `fn load_${name}(row: u32, vec: u32) -> vec4f { return vec4f(${variant[type] === 'f16' ? `bitcast<vec4h>(${own})` : own}); }`;
  }),
  ...Object.entries(outputs).map(([name, type]) => {
    const stored = variant[type] === 'f16' ? 'bitcast<vec2u>(vec4h(value))' : `vec4<${type}>(value)`;
    return `fn store_${name}(row: u32, vec: u32, value: vec4f) { ${name}[row + vec] = ${stored}; }`;
  }),
];

/** The line of a `load_…` that reads a row of `width` elements as vec4, for `Kernel.vec4`. */
export const vec4Load = (name: string, width: string): string =>
  `fn load_${name}(row: u32, d: u32) -> vec4f { return vec4f(${name}[(row + min(d, params.${width} - 4)) / 4]); }`;

/** The line of a `store_…` that writes a row of `width` elements as vec4. */
export const vec4Store = (name: string, width: string, type: string): string =>
  `fn store_${name}(row: u32, d: u32, value: vec4f) { if (d < params.${width}) { ${name}[(row + d) / 4] = vec4<${type}>(value); } }`;
