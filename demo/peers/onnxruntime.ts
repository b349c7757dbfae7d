/** onnxruntime-web, on models of a few nodes: WebGPU, and WebAssembly as the yardstick without a GPU. */
import { onnxModel } from './onnx-model.ts';
import { type Feed, recipeOf } from './onnx-recipes.ts';
import { bufferOf, type Given, type Player, swapAxes } from './player.ts';

interface Ort {
  readonly env: {
    readonly wasm: { wasmPaths: string; numThreads: number };
    readonly webgpu: { readonly device: Promise<GPUDevice> };
    logLevel: string;
  };
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  readonly Tensor: {
    new (type: 'float32', data: Float32Array, shape: readonly number[]): OrtTensor;
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: 'float32'; dims: readonly number[] }): OrtTensor;
  };
}

interface Session {
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<{ out: OrtTensor }>;
}

interface OrtTensor {
  dispose(): void;
  getData(): Promise<Float32Array>;
}

export async function enter(given: Given): Promise<Player> {
  const { work, inputs, variant, base, load } = given;
  const isWasm = variant === 'wasm';
  const dist = `${base}/onnxruntime-web/dist/`;
  const ort: Ort = await load(`${dist}ort.${isWasm ? 'wasm' : 'webgpu'}.bundle.min.mjs`);
  ort.env.wasm.wasmPaths = dist;
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? 2 : 1;
  ort.env.logLevel = 'error';
  const device: GPUDevice | undefined = isWasm ? undefined : await deviceFor(variant, ort);
  const { graph, feeds, how, areHeadsInner } = recipeOf(variant, work, inputs);
  const tensorOf = ({ data, shape }: Feed) =>
    device
      ? ort.Tensor.fromGpuBuffer(bufferOf(device, data), { dataType: 'float32', dims: shape })
      : new ort.Tensor('float32', data, shape);
  const tensors = Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, tensorOf(feed)]));
  const model = onnxModel({ ...graph, inputs: Object.entries(feeds).map(([name, { shape }]) => ({ name, shape })) });
  const options = device && { preferredOutputLocation: 'gpu-buffer' };
  const provider = device ? { name: 'webgpu', device } : 'wasm';
  let session: Session | undefined;
  let out: OrtTensor | undefined;
  await device?.queue.onSubmittedWorkDone();
  return {
    start: async () => {
      session = await ort.InferenceSession.create(model, { executionProviders: [provider], ...options });
    },
    run: async (calls) => {
      for (let i = 0; i < calls; i++) {
        out?.dispose();
        ({ out } = await session!.run(tensors));
      }
      await device?.queue.onSubmittedWorkDone();
    },
    read: async () => {
      const data = await out!.getData();
      return areHeadsInner ? swapAxes(data, work.queries, work.heads) : data;
    },
    how: () => (device ? how : `${how}; ${ort.env.wasm.numThreads} thread(s), tensors in the page's memory`),
  };
}

/** Its own device, or for the variant without subgroups one that is like it otherwise. */
async function deviceFor(variant: string, ort: Ort): Promise<GPUDevice> {
  const value = { name: 'x', shape: [1] };
  const graph = {
    inputs: [value],
    constants: [],
    nodes: [{ operator: 'Neg', inputs: ['x'], output: 'y' }],
    output: { ...value, name: 'y' },
  };
  await ort.InferenceSession.create(onnxModel(graph), { executionProviders: ['webgpu'] }); // only a session makes the device
  const own = await ort.env.webgpu.device;
  if (variant !== 'attention-without-subgroups') return own;
  const adapter = (await navigator.gpu.requestAdapter())!;
  const requiredLimits: Record<string, number> = {};
  for (const name in own.limits) requiredLimits[name] = own.limits[name as keyof GPUSupportedLimits] as number;
  const requiredFeatures = [...own.features].filter((name) => !name.includes('subgroup')) as GPUFeatureName[];
  return adapter.requestDevice({ requiredLimits, requiredFeatures });
}
