/** @jax-js/jax: nn.dotProductAttention under jit, on [1,N,H,D]; its gradients by jax's own valueAndGrad. */
import { type Given, type Player, swapAxes } from './player.ts';
import { join } from './works.ts';

/** An array. Calls use up the reference that they are given; `ref` is one more. */
interface JaxArray {
  readonly ref: JaxArray;
  mul(other: JaxArray): JaxArray; // uses both up
  gpuBuffer(): Promise<GPUBuffer>; // computes what is pending; uses the reference up
  data(): Promise<Float32Array>; // as well
  dispose(): void; // as well
}

export async function enter({ work, inputs, base, load }: Given): Promise<Player> {
  const { pass, length, queries, heads, keyHeads, headSize, isCausal } = work;
  const jax = await load(`${base}/@jax-js/jax/dist/index.js`);
  if (!(await jax.init('webgpu')).includes('webgpu')) throw new Error('jax.init finds no WebGPU');
  jax.defaultDevice('webgpu');
  const device: GPUDevice = jax.getWebGPUDevice();
  const put = async (data: Float32Array, rows: number, of: number): Promise<JaxArray> => {
    const array: JaxArray = jax.numpy.array(swapAxes(data, of, rows), { shape: [1, rows, of, headSize] });
    await array.ref.gpuBuffer();
    return array;
  };
  const q = await put(inputs.q, queries, heads);
  const k = await put(inputs.k, length, keyHeads);
  const v = await put(inputs.v, length, keyHeads);
  await device.queue.onSubmittedWorkDone();
  const gradient = await put(inputs.gradient, queries, heads);
  const answer = (...arrays: JaxArray[]): JaxArray => jax.nn.dotProductAttention(...arrays, { isCausal });
  const forward: (...arrays: JaxArray[]) => JaxArray[] = jax.jit((...arrays: JaxArray[]) => [answer(...arrays)]);
  // The gradients of Σ out ∘ gradient are what the gradient of out leads to.
  const product = (...[a, b, c, weights]: JaxArray[]) => {
    const out = answer(a!, b!, c!);
    return [jax.numpy.sum(out.ref.mul(weights!)), out];
  };
  const both: (...arrays: JaxArray[]) => JaxArray[] = jax.jit((...arrays: JaxArray[]) => {
    const [[sum, out], gradients] = jax.valueAndGrad(product, { argnums: [0, 1, 2], hasAux: true })(...arrays);
    sum.dispose();
    return [out, ...gradients];
  });
  let outputs: JaxArray[] = [];
  return {
    start: async () => {}, // the first call traces and compiles
    run: async (calls) => {
      for (let i = 0; i < calls; i++) {
        for (const output of outputs) output.dispose();
        outputs = pass === 'forward' ? forward(q.ref, k.ref, v.ref) : both(q.ref, k.ref, v.ref, gradient.ref);
        for (const output of outputs) await output.ref.gpuBuffer();
      }
      await device.queue.onSubmittedWorkDone();
    },
    read: async () => join(await Promise.all(outputs.map(async (output) => swapAxes(await output.ref.data(), queries, heads)))),
    how: () =>
      `jit(${pass === 'forward' ? 'nn.dotProductAttention' : 'valueAndGrad(Σ nn.dotProductAttention ∘ gradient)'})${isCausal ? ', isCausal' : ''}`,
  };
}
