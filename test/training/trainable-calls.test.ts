/** Trainable objects across calls: overlapping ones, and what is left after destroy. */
import { expect, test } from 'vitest';
import { createAttention, createTrainableSelfAttention, createWordModel, type WordPlan } from '../../src/index.ts';
import { watchBuffers } from '../rig/counting.ts';
import { onDevices } from '../rig/gpu.ts';
import { randomArray } from '../rig/random.ts';
import { BATCH, sentences, WORDS } from '../rig/sentences.ts';

onDevices('calls of trainable objects', (attention) => {
  test('calls of a plan that overlap each get their own numbers', async () => {
    const layer = await createTrainableSelfAttention(attention(), { width: 5, seed: 2 });
    const ofLayer = await layer.plan({ batch: 1, length: 3, backward: true });
    const inputs = [1, 2].map((seed) => ({ data: randomArray(seed, 15), shape: [1, 3, 5] }));
    const apart = [await ofLayer.forward(inputs[0]!), await ofLayer.forward(inputs[1]!)];
    expect(await Promise.all(inputs.map((x) => ofLayer.forward(x)))).toEqual(apart);
    layer.destroy();
    const resultsOf = async (isTogether: boolean) => {
      const model = await createWordModel(attention(), WORDS);
      const plan = await model.plan({ batch: BATCH, backward: true });
      const seeing = await model.plan({ batch: BATCH, returnWeights: true });
      const results: unknown[] = [];
      const calls = [1, 2].flatMap((seed) => {
        const { tokens, targets } = sentences(seed);
        return [() => seeing.forward(tokens), () => plan.train(tokens, targets), () => model.parameters(), () => model.gradients()];
      });
      if (isTogether) results.push(...(await Promise.all(calls.map((call) => call()))));
      else for (const call of calls) results.push(await call());
      model.destroy();
      return results;
    };
    expect(await resultsOf(true)).toEqual(await resultsOf(false));
  });

  test('a tensor of a destroyed plan is an error, also where its buffer is in use again', async () => {
    const on = attention();
    const layer = await createTrainableSelfAttention(on, { width: 5 });
    const { y } = await layer.plan({ batch: 1, length: 3 });
    layer.destroy();
    const again = Array.from({ length: 40 }, () => on.empty(y.shape));
    expect(again.some(({ buffer }) => buffer === y.buffer)).toBe(true);
    await expect(on.download(y)).rejects.toThrow(
      expect.objectContaining({ code: 'option', message: expect.stringContaining('was released') }),
    );
    on.release(...again);
  });

  test('destroy gives every buffer back: twelve models leave what the pool keeps', async () => {
    const { device } = attention();
    const live = watchBuffers(device);
    const on = await createAttention({ device });
    let plan: WordPlan;
    for (let i = 0; i < 12; i++) {
      const model = await createWordModel(on, WORDS);
      plan = await model.plan({ batch: BATCH, backward: true });
      (await model.plan({ batch: 2, returnWeights: true })).destroy();
      await expect(model.plan({ batch: 2 ** 24, backward: true })).rejects.toThrow(expect.objectContaining({ code: 'limit' }));
      model.destroy();
    }
    expect(live()).toBeLessThanOrEqual(32 + 3); // the pool's, what is bound for absent tensors, and the uniforms of calls
    on.destroy();
    expect(live()).toBe(0);
    Reflect.deleteProperty(device, 'createBuffer');
    expect(() => plan!.encode({} as GPUComputePassEncoder)).toThrow(expect.objectContaining({ code: 'device-lost' }));
  });
});
