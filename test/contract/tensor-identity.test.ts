/** Which tensor it is: its buffer and layout tell, not its object. Reactive stores hand out proxies, frozen objects and copies. */
import { expect, test } from 'vitest';
import { rowMajor } from '../../src/contract/tensor.ts';
import { type Attention, createTrainableSelfAttention, type GpuTensor, selfAttention } from '../../src/index.ts';
import { onDevices, testWithDevice } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';

/** What Vue's `reactive` and MobX's `observable` do: plain objects and arrays become proxies, whatever is read from them too; a GPUBuffer stays itself. */
function reactive<T>(target: T): T {
  const isPlain = /^\[object (Object|Array)\]$/.test(Object.prototype.toString.call(target));
  if (!isPlain) return target;
  return new Proxy(target as object, { get: (object, key, receiver) => reactive(Reflect.get(object, key, receiver)) }) as T;
}

const FORMS: [name: string, form: (tensor: GpuTensor) => GpuTensor][] = [
  ['a proxy', (tensor) => reactive({ tensor }).tensor],
  ['a frozen object', (tensor) => Object.freeze(tensor)],
  ['a copy', (tensor) => ({ ...tensor })],
  ['a copy with its defaults written out', (tensor) => ({ ...tensor, offset: 0, strides: rowMajor(tensor.shape) })],
  ['a copy of a proxy', (tensor) => ({ ...reactive({ tensor }).tensor })],
  ['what is left by hand', ({ buffer, shape, dtype }) => ({ buffer, shape: [...shape], dtype })],
];
const refusal = (message: string) =>
  expect.objectContaining({ name: 'AttentionError', code: 'option', message: expect.stringContaining(message) });
const upload = (on: Attention, seed = 1) => on.upload(randomArray(seed, 24), [4, 3, 2]);

onDevices('a tensor', (attention) => {
  test.each(FORMS)('%s is the tensor: used, and released once', async (_, form) => {
    const on = attention();
    const tensor = upload(on);
    const other = form(tensor);
    expect(await on.download(other)).toEqual(await on.download(tensor));
    on.release(other);
    for (const again of [tensor, other, { ...tensor, shape: [3, 2] }])
      expect(() => on.release(again)).toThrow(refusal(`release: tensor [${again.shape}] was released before`));
    await expect(on.download(tensor)).rejects.toThrow(refusal('download: tensor [4,3,2] was released before'));
  });

  test.each(FORMS)('%s in a call and in encode', async (_, form) => {
    const on = attention();
    const [q, k, v] = [1, 2, 3].map((seed) => on.upload(randomArray(seed, 24), [1, 4, 3, 2])) as [GpuTensor, GpuTensor, GpuTensor];
    const state = reactive({ q, k, v });
    const { out } = await on.scaledDotProductAttention(q, k, v, { isCausal: true });
    const again = await on.scaledDotProductAttention(state.q, state.k, state.v, reactive({ isCausal: true }));
    expect(await on.download(again.out)).toEqual(await on.download(out));
    const gradients = await on.projectBackward(state.q, state.k, on.upload(randomArray(4, 4), [2, 2]));
    const changed = form(on.upload(randomArray(4, 24), [4, 3, 2]));
    on.release(state.q, form(v), form(k), reactive(out), again.out, gradients.x, gradients.weights, gradients.bias, changed);
  });

  test('a view is refused, with the tensor that it is a view of', async () => {
    const on = attention();
    const tensor = upload(on);
    const views = [
      { shape: [2, 3, 2] },
      { shape: [3, 2], offset: 24 },
      { shape: [4, 3, 2], strides: [0, 2, 1] },
      { dtype: 'u32' as const },
    ];
    for (const view of views)
      expect(() => on.release(reactive({ ...tensor, ...view }))).toThrow(
        /release: tensor .* is a view of f32 \[4,3,2\]: release the tensor/,
      );
    const other = upload(on, 2);
    expect(() => on.release(tensor, { ...other, shape: [24] })).toThrow(refusal('f32 [24] is a view of f32 [4,3,2]')); // none of them was released
    expect((await on.download(tensor)).data).toEqual(randomArray(1, 24));
    on.release(tensor, { ...other });
  });

  test('a proxy of an Attention, as stores that are not deep make them, is the Attention', async () => {
    const on = new Proxy(attention(), {});
    const rows = [...Array(3).keys()].map((n) => [...randomArray(n + 1, 2)]);
    expect((await selfAttention(rows, { attention: on })).context).toEqual((await selfAttention(rows, { attention: attention() })).context);
    const layer = await createTrainableSelfAttention(on, { width: 2 });
    layer.destroy();
    await expect(createTrainableSelfAttention({} as Attention, { width: 2 })).rejects.toThrow(refusal('need what createAttention gave'));
  });

  test('a plan’s tensor and a caller’s own buffer are refused', async () => {
    const on = attention();
    const layer = await createTrainableSelfAttention(on, { width: 2 });
    const plan = await layer.plan({ batch: 1, length: 3 });
    for (const tensor of [plan.x, { ...plan.y }, reactive(plan.y)]) expect(() => on.release(tensor)).toThrow(refusal('belongs to a plan'));
    const { y } = plan;
    layer.destroy();
    expect(() => on.release(y)).toThrow(refusal('release: tensor [1,3,2] was released before'));
    const buffer = on.device.createBuffer({ size: 96, usage: GPUBufferUsage.STORAGE });
    expect(() => on.release({ buffer, dtype: 'f32', shape: [4, 3, 2] })).toThrow(refusal('a buffer that this Attention did not make'));
    buffer.destroy();
    const proxied = { buffer: new Proxy(upload(on).buffer, {}), dtype: 'f32' as const, shape: [4, 3, 2] };
    await expect(on.download(proxied)).rejects.toThrow(refusal('buffer is GPUBuffer: need a GPUBuffer, and not a proxy of one'));
  });
});

testWithDevice('a released tensor’s copies, proxies and views are never taken for the next tensor in its buffer', async (attention) => {
  const old = upload(attention);
  const stale = [old, { ...old }, reactive(old), { ...old, shape: [2, 2], offset: 8 }];
  attention.release(old);
  const next = upload(attention, 2);
  expect(next.buffer).toBe(old.buffer);
  for (const tensor of stale) {
    await expect(attention.download(tensor)).rejects.toThrow(refusal('was released before'));
    expect(() => attention.release(tensor)).toThrow(refusal('was released before'));
  }
  expect((await attention.download(next)).data).toEqual(randomArray(2, 24));
  attention.release(next);
});
