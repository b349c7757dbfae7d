/** The operator Attention by onnxruntime's CPU provider, as commands for the page. Its packages are in a folder of their own: see run.mjs. */
import { createRequire } from 'node:module';
import type { BrowserCommand } from 'vitest/node';
import { type OnnxAttributes, type OnnxInputs, type OnnxTensor, onnxModel, SCHEMA } from './onnx-model.ts';

interface Session {
  run(inputs: Record<string, unknown>): Promise<{ out: { data: Float32Array } }>;
}

const requireThere = createRequire(new URL('./onnxruntime/package.json', import.meta.url));
const VIEWS = { float32: Float32Array, bool: Uint8Array, int64: BigInt64Array };
const sessions = new Map<string, Promise<Session>>();

/** Which onnxruntime there is, or why there is none. */
export const findOnnxruntime: BrowserCommand<[], { version: string } | { missing: string }> = () => {
  try {
    requireThere('protobufjs');
    return { version: requireThere('onnxruntime-node').env.versions.node };
  } catch (error) {
    return { missing: String(error).split('\n')[0]! };
  }
};

/** out, [B,H,N,Dv], as the bytes of f32 numbers in base64. */
export const runOnnxAttention: BrowserCommand<[OnnxAttributes, OnnxInputs], string> = async (_, attributes, inputs) => {
  const ranks = Object.entries(inputs).map(([name, { type, shape }]) => [name, type, shape.length]);
  const key = JSON.stringify([attributes, ranks]);
  const session = sessions.get(key) ?? createSession(attributes, inputs);
  sessions.set(key, session);
  const tensors = Object.entries(inputs).map(([name, tensor]) => [name, toOrt(tensor)]);
  const { data } = (await (await session).run(Object.fromEntries(tensors))).out;
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
};

function createSession(attributes: OnnxAttributes, inputs: OnnxInputs): Promise<Session> {
  const { InferenceSession } = requireThere('onnxruntime-node');
  const type = requireThere('protobufjs').parse(SCHEMA, { keepCase: true }).root.lookupType('ModelProto');
  const bytes = type.encode(type.fromObject(onnxModel(attributes, inputs))).finish();
  return InferenceSession.create(bytes, { executionProviders: ['cpu'], intraOpNumThreads: 1 }); // more threads would spin beside the GPU's
}

function toOrt({ type, shape, base64 }: OnnxTensor): unknown {
  const { buffer } = Uint8Array.from(Buffer.from(base64, 'base64')); // a copy: aligned to its elements
  const { Tensor } = requireThere('onnxruntime-node');
  return new Tensor(type, new VIEWS[type](buffer), shape);
}
