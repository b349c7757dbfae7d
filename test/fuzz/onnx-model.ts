/** The ONNX model of one Attention node. */

/** The operator's attributes; `scale` is absent where it is the default, 1/√D. */
export interface OnnxAttributes {
  readonly is_causal: number;
  readonly softcap: number;
  readonly scale?: number;
}

/** A tensor on its way between the page and Node: JSON has no bytes. */
export interface OnnxTensor {
  readonly type: 'float32' | 'bool' | 'int64';
  readonly shape: readonly number[];
  readonly base64: string;
}

/** q, k and v; at will attn_mask (with mask_shape, to which it is broadcast) and nonpad_kv_seqlen. */
export type OnnxInputs = Readonly<Record<string, OnnxTensor>>;

/** The first opset with nonpad_kv_seqlen. */
const OPSET = 24;
const IR_VERSION = 10;
const ELEMENT = { float32: 1, int64: 7, bool: 9 };
const ATTRIBUTE = { float: 1, int: 2 };

/** What is needed of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto: a field is its number. */
export const SCHEMA = `
  syntax = "proto2";
  message AttributeProto { optional string name = 1; optional float f = 2; optional int64 i = 3; optional int32 type = 20; }
  message NodeProto { repeated string input = 1; repeated string output = 2; optional string op_type = 4; repeated AttributeProto attribute = 5; }
  message Dimension { optional string dim_param = 2; }
  message TensorShapeProto { repeated Dimension dim = 1; }
  message Tensor { optional int32 elem_type = 1; optional TensorShapeProto shape = 2; }
  message TypeProto { optional Tensor tensor_type = 1; }
  message ValueInfoProto { optional string name = 1; optional TypeProto type = 2; }
  message GraphProto {
    repeated NodeProto node = 1;
    optional string name = 2;
    repeated ValueInfoProto input = 11;
    repeated ValueInfoProto output = 12;
  }
  message OperatorSetIdProto { optional string domain = 1; optional int64 version = 2; }
  message ModelProto { optional int64 ir_version = 1; optional GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8; }
`;

/** A ModelProto that takes tensors of the types and ranks of `inputs`, in any size, and gives `out`. */
export function onnxModel(attributes: OnnxAttributes, inputs: OnnxInputs): object {
  const value = (name: string, elem_type: number, rank: number) => ({
    name,
    type: { tensor_type: { elem_type, shape: { dim: Array.from({ length: rank }, (_, axis) => ({ dim_param: `${name}_${axis}` })) } } },
  });
  // The provider broadcasts a mask along batch and heads alone, so the mask goes through Expand.
  const expand = { op_type: 'Expand', input: ['attn_mask', 'mask_shape'], output: ['full_mask'] };
  const attention = {
    op_type: 'Attention',
    input: ['q', 'k', 'v', inputs.attn_mask ? 'full_mask' : '', '', '', ...(inputs.nonpad_kv_seqlen ? ['nonpad_kv_seqlen'] : [])],
    output: ['out'],
    attribute: Object.entries(attributes).map(([name, number]) =>
      name === 'is_causal' ? { name, type: ATTRIBUTE.int, i: number } : { name, type: ATTRIBUTE.float, f: number },
    ),
  };
  const graph = {
    name: 'attention',
    node: inputs.attn_mask ? [expand, attention] : [attention],
    input: Object.entries(inputs).map(([name, { type, shape }]) => value(name, ELEMENT[type], shape.length)),
    output: [value('out', ELEMENT.float32, 4)],
  };
  return { ir_version: IR_VERSION, graph, opset_import: [{ domain: '', version: OPSET }] };
}
