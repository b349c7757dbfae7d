/** @jax-js/jax: nn.dotProductAttention under jit, on [1,N,H,D]. */
import { type Given, type Player, swapAxes } from './player.ts';

/** An array. Calls use up the reference that they are given; `ref` is one more. */
interface JaxArray {
  readonly ref: JaxArray;
  gpuBuffer(): Promise<GPUBuffer>; // computes what is pending; uses the reference up
  data(): Promise<Float32Array>; // as well
  dispose(): void; // as well
}

export async function enter({ work, inputs, base, load }: Given): Promise<Player> {
  const { length, queries, heads, keyHeads, headSize, isCausal } = work;
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
  const attend: (...arrays: JaxArray[]) => JaxArray = jax.jit((...arrays: JaxArray[]) =>
    jax.nn.dotProductAttention(...arrays, { isCausal }),
  );
  let out: JaxArray | undefined;
  return {
    start: async () => {}, // the first call traces and compiles
    run: async (calls) => {
      for (let i = 0; i < calls; i++) {
        out?.dispose();
        out = attend(q.ref, k.ref, v.ref);
        await out.ref.gpuBuffer();
      }
      await device.queue.onSubmittedWorkDone();
    },
    read: async () => swapAxes(await out!.ref.data(), queries, heads),
    how: () => `jit(nn.dotProductAttention)${isCausal ? ', isCausal' : ''}`,
  };
}
