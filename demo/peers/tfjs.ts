/** @tensorflow/tfjs-backend-webgpu: matMul, softmax, matMul on [1,H,N,D]; it has no attention. */
import { bufferOf, causalBias, type Given, type Player, repeatHeads, repeatNote } from './player.ts';

interface Tensor {
  dispose(): void;
  data(): Promise<Float32Array>;
}

interface Backend {
  readonly device: GPUDevice;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

interface Tf {
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  backend(): Backend;
  tensor(data: { buffer: GPUBuffer; zeroCopy: true }, shape: readonly number[]): Tensor;
  matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  mul(a: Tensor, factor: number): Tensor;
  add(a: Tensor, b: Tensor): Tensor;
  softmax(scores: Tensor): Tensor;
  tidy<T>(run: () => T): T;
}

export async function enter({ work, inputs, base }: Given): Promise<Player> {
  const { length, queries, heads, headSize, isCausal } = work;
  await script(`${base}/@tensorflow/tfjs-core/dist/tf-core.min.js`);
  await script(`${base}/@tensorflow/tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js`);
  const { tf } = globalThis as unknown as { tf: Tf };
  if (!(await tf.setBackend('webgpu'))) throw new Error('tf.setBackend finds no WebGPU');
  await tf.ready();
  const backend = tf.backend();
  const { queue } = backend.device;
  const put = (data: Float32Array<ArrayBuffer>, shape: readonly number[]) =>
    tf.tensor({ buffer: bufferOf(backend.device, data), zeroCopy: true }, shape);
  const q = put(inputs.q, [1, heads, queries, headSize]);
  const [k, v] = [inputs.k, inputs.v].map((data) => put(repeatHeads(data, work), [1, heads, length, headSize])) as [Tensor, Tensor];
  const bias = isCausal ? put(causalBias(work), [1, 1, queries, length]) : undefined;
  await queue.onSubmittedWorkDone();
  let out: Tensor | undefined;
  const attend = () =>
    tf.tidy(() => {
      const scores = tf.matMul(tf.mul(q, 1 / Math.sqrt(headSize)), k, false, true); // scaling q is less work than scaling scores
      return tf.matMul(tf.softmax(bias ? tf.add(scores, bias) : scores), v);
    });
  return {
    start: async () => {}, // the first call compiles
    run: async (calls) => {
      for (let i = 0; i < calls; i++) {
        out?.dispose();
        out = attend();
      }
      backend.ensureCommandEncoderReady(); // it collects commands: this sends them, as data() would
      backend.endComputePassEncoder();
      backend.submitQueue();
      await queue.onSubmittedWorkDone();
    },
    read: () => out!.data(),
    how: () => `mul, matMul, ${bias ? 'add, ' : ''}softmax, matMul${repeatNote(work)}`,
  };
}

/** Runs a classic script: the packages' single-file builds make a global `tf`. */
function script(address: string): Promise<void> {
  const element = document.createElement('script');
  element.src = address;
  return new Promise((resolve, reject) => {
    element.onload = () => resolve();
    element.onerror = () => reject(new Error(`${address} does not load`));
    document.head.append(element);
  });
}
