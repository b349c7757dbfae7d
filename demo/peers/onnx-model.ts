/** Writes ONNX models of a few nodes: as much of protobuf and of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto as that takes. */

export interface OnnxValue {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface OnnxNode {
  readonly operator: string;
  readonly inputs: readonly string[]; // '': left out
  readonly output: string;
  readonly domain?: string; // default: ONNX's own
  readonly attributes?: Readonly<Record<string, number | readonly number[]>>; // whole numbers
}

export interface OnnxGraph {
  readonly inputs: readonly OnnxValue[]; // all f32, as is the output
  readonly constants: readonly (OnnxValue & { readonly data: Float32Array | Int32Array })[];
  readonly nodes: readonly OnnxNode[];
  readonly output: OnnxValue;
}

const IR_VERSION = 10;
const OPSETS = { '': 24, 'com.microsoft': 1 };
const FLOAT = 1;
const INT32 = 6;
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_INTS = 7;

export function onnxModel({ inputs, constants, nodes, output }: OnnxGraph): Uint8Array {
  const graph = [
    ...nodes.map((node) => message(1, nodeProto(node))),
    text(2, 'attention'),
    ...constants.map((constant) => message(5, tensorProto(constant))),
    ...inputs.map((value) => message(11, valueInfo(value))),
    message(12, valueInfo(output)),
  ];
  const opsets = Object.entries(OPSETS).map(([domain, version]) => message(8, [text(1, domain), integer(2, version)]));
  return Uint8Array.from([integer(1, IR_VERSION), message(7, graph), ...opsets].flat());
}

const nodeProto = ({ operator, inputs, output, domain = '', attributes = {} }: OnnxNode): number[][] => [
  ...inputs.map((name) => text(1, name)),
  text(2, output),
  text(3, output),
  text(4, operator),
  ...Object.entries(attributes).map(([name, value]) =>
    message(
      5,
      typeof value === 'number'
        ? [text(1, name), integer(3, value), integer(20, ATTRIBUTE_INT)]
        : [text(1, name), ...value.map((item) => integer(8, item)), integer(20, ATTRIBUTE_INTS)],
    ),
  ),
  text(7, domain),
];

const tensorProto = ({ name, shape, data }: OnnxGraph['constants'][number]): number[][] => [
  ...shape.map((size) => integer(1, size)),
  integer(2, data instanceof Float32Array ? FLOAT : INT32),
  text(8, name),
  field(9, [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]),
];

function valueInfo({ name, shape }: OnnxValue): number[][] {
  const dimensions = shape.map((size) => message(1, [integer(1, size)]));
  return [text(1, name), message(2, [message(1, [integer(1, FLOAT), message(2, dimensions)])])];
}

/** Protobuf's base-128 numbers: seven bits a byte, the lowest first. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

const integer = (number: number, value: number): number[] => [...varint(number * 8), ...varint(value)];
const field = (number: number, bytes: readonly number[]): number[] => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const message = (number: number, fields: readonly number[][]): number[] => field(number, fields.flat());
const text = (number: number, value: string): number[] => field(number, [...new TextEncoder().encode(value)]);
