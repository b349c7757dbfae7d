/** Trainable self-attention and the word model around it: against their CPU twins, and what a step costs. */
import { expect, test } from 'vitest';
import {
  type Attention,
  createTrainableSelfAttention,
  createWordModel,
  type HostTensor,
  selfAttention,
  type TrainableOptions,
} from '../../src/index.ts';
import { TrainableReference, WordModelReference } from '../../src/reference/index.ts';
import { counting } from '../rig/counting.ts';
import { onDevices, runPass } from '../rig/gpu.ts';
import { dataOf } from '../rig/gradients.ts';
import { randomArray } from '../rig/random.ts';
import { BATCH, sentences, WORDS } from '../rig/sentences.ts';
import { expectWithin, greatestError } from '../rig/tolerance.ts';

const tensor = (seed: number, ...shape: number[]): HostTensor => ({
  data: randomArray(
    seed,
    shape.reduce((product, size) => product * size, 1),
  ),
  shape,
});

/** A new word model's losses in so many steps, and its parameters and last gradients. */
async function trainWords(on: Attention, steps: number) {
  const model = await createWordModel(on, WORDS);
  const plan = await model.plan({ batch: BATCH, backward: true });
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const { tokens, targets } = sentences(step);
    losses.push(await plan.train(tokens, targets, { learningRate: 2e-3, positionRate: 0.3 }));
  }
  const parameters = await model.parameters();
  const gradients = await model.gradients();
  model.destroy();
  return { losses, parameters, gradients };
}

onDevices('trainable', (attention) => {
  test.each([
    [{ width: 8, heads: 2, isCausal: true, seed: 1 }, 3, 5],
    [{ width: 5, seed: 2 }, 2, 6],
  ] as const)('%o: output and gradients are the reference’s', async (options, batch, length) => {
    const layer = await createTrainableSelfAttention(attention(), options);
    const twin = new TrainableReference(options);
    expectWithin('parameters', dataOf(await layer.parameters()), dataOf(twin.parameters()), 0, 0);
    const plan = await layer.plan({ batch, length, backward: true });
    const [x, dY] = [tensor(1, batch, length, options.width), tensor(2, batch, length, options.width)];
    const [y, dX] = [await plan.forward(x), await plan.backward(dY)];
    const { y: expected } = twin.forward(x);
    expectWithin('out', { y: y.data, dX: dX.data }, { y: expected.data, dX: twin.backward(dY).data }, 2e-6);
    expectWithin('gradients', dataOf(await layer.gradients()), dataOf(twin.gradients()), 2e-6);
    await layer.update({ learningRate: 0.01 });
    twin.update({ learningRate: 0.01 });
    expectWithin('updated', dataOf(await layer.parameters()), dataOf(twin.parameters()), 1e-5);
    layer.destroy();
  });

  test('its parameters are selfAttention’s, and with returnWeights its weights too', async () => {
    const layer = await createTrainableSelfAttention(attention(), { width: 6, heads: 2, isCausal: true, seed: 9 });
    const plan = await layer.plan({ batch: 2, length: 4, returnWeights: true });
    const x = tensor(5, 2, 4, 6);
    const y = await plan.forward(x);
    const expected = await selfAttention(x, { ...(await layer.parameters()), heads: 2, isCausal: true, attention: attention() });
    expect(greatestError(y.data, expected.context.data)).toBeLessThan(1e-6);
    expect((await attention().download(plan.weights!)).shape).toEqual(expected.weights.shape);
    expect(greatestError((await attention().download(plan.weights!)).data, expected.weights.data)).toBeLessThan(1e-6);
    layer.destroy();
  });

  test('load: what comes in goes out; the rest stays; a plan made before uses it', async () => {
    const layer = await createTrainableSelfAttention(attention(), { width: 5, seed: 4 });
    const plan = await layer.plan({ batch: 1, length: 3 });
    const before = await layer.parameters();
    const keyWeights = tensor(8, 5, 5);
    const x = tensor(9, 1, 3, 5);
    const old = await plan.forward(x);
    layer.load({ keyWeights });
    expect(await layer.parameters()).toEqual({ ...before, keyWeights });
    expect(greatestError((await plan.forward(x)).data, old.data)).toBeGreaterThan(1e-4);
    layer.load({ keyWeights: before.keyWeights });
    expect(await plan.forward(x)).toEqual(old);
    layer.destroy();
  });
});

onDevices('trainable, its steps', (attention) => {
  test('recorded into the caller’s pass: several steps in one submission are those of as many', async () => {
    const { device } = attention();
    const options: TrainableOptions = { width: 5, seed: 6 };
    const [together, apart] = [
      await createTrainableSelfAttention(attention(), options),
      await createTrainableSelfAttention(attention(), options),
    ];
    const [x, dY] = [tensor(1, 2, 6, 5), tensor(2, 2, 6, 5)];
    const plans = await Promise.all([together, apart].map((layer) => layer.plan({ batch: 2, length: 6, backward: true })));
    for (const plan of plans) {
      await plan.forward(x);
      await plan.backward(dY);
    }
    await runPass(device, (pass) => {
      for (let step = 0; step < 3; step++) {
        plans[0]!.encode(pass);
        plans[0]!.encodeBackward(pass);
        together.encodeUpdate(pass, { learningRate: 0.01 * (step + 1) });
      }
    });
    for (let step = 0; step < 3; step++) {
      await plans[1]!.forward(x);
      await plans[1]!.backward(dY);
      await apart.update({ learningRate: 0.01 * (step + 1) });
    }
    expect(await together.parameters()).toEqual(await apart.parameters());
    together.destroy();
    apart.destroy();
  });

  test('an update before any gradient changes nothing', async () => {
    const layer = await createTrainableSelfAttention(attention(), { width: 5 });
    const before = await layer.parameters();
    await layer.update();
    expect(await layer.parameters()).toEqual(before);
    layer.destroy();
  });
});

onDevices('word model', (attention) => {
  test('one step: losses, gradients and parameters are the reference’s', async () => {
    const got = await trainWords(attention(), 1);
    const twin = new WordModelReference(WORDS);
    const { tokens, targets } = sentences(0);
    expect(got.losses[0]).toBeCloseTo(twin.train(tokens, targets, { learningRate: 2e-3, positionRate: 0.3 }), 6);
    expectWithin('gradients', dataOf(got.gradients), dataOf(twin.gradients()), 1e-5);
  });

  test('50 steps: parameters within 1e-4 of the reference’s, the loss falls, and a second run gives the same bits', async () => {
    const got = await trainWords(attention(), 50);
    const twin = new WordModelReference(WORDS);
    const losses = Array.from({ length: 50 }, (_, step) => {
      const { tokens, targets } = sentences(step);
      return twin.train(tokens, targets, { learningRate: 2e-3, positionRate: 0.3 });
    });
    const expected = twin.parameters();
    for (const [name, { data }] of Object.entries(got.parameters))
      expect(greatestError(data, expected[name as keyof typeof expected].data), name).toBeLessThan(1e-4);
    expect(greatestError(got.losses, losses)).toBeLessThan(1e-4);
    expect(await trainWords(attention(), 50)).toEqual(got);
  });

  test('a step makes nothing on the GPU, in one submission and at most 25 dispatches', async () => {
    const model = await createWordModel(attention(), WORDS);
    const plan = await model.plan({ batch: BATCH, backward: true });
    const { tokens, targets } = sentences(1);
    await plan.train(tokens, targets);
    const { device } = attention();
    const counts = await counting(device, () => plan.train(tokens, targets));
    expect(counts).toMatchObject({ createBuffer: 0, createBindGroup: 0, createShaderModule: 0, createComputePipelineAsync: 0 });
    expect(counts.dispatchWorkgroups).toBe(plan.kernels.length + 3); // Adam: the layer, the words, the positions
    expect(counts.dispatchWorkgroups).toBeLessThanOrEqual(25);
    model.destroy();
  });

  test('padding at the end changes nothing before it, and is not trained', async () => {
    const model = await createWordModel(attention(), WORDS);
    const plan = await model.plan({ batch: BATCH, backward: true });
    const { tokens } = sentences(2);
    const padded = (filler: number) => tokens.map((token, i) => (i % 7 > 4 ? filler : token === 10 ? 0 : token));
    const targets = tokens.map((_, i) => (i % 7 === 4 ? 1 : -1));
    const [one, other] = [await plan.forward(padded(9), targets), await plan.forward(padded(10), targets)];
    expect(one.losses).toEqual(other.losses);
    await plan.train(padded(10), targets);
    const { tokens: gradient } = await model.gradients();
    expect([...gradient.data.slice(10 * 8)]).toEqual(new Array(8).fill(0));
    model.destroy();
  });

  test('load: the model goes on as the one that the parameters came from would', async () => {
    const { parameters } = await trainWords(attention(), 3);
    const model = await createWordModel(attention(), { ...WORDS, seed: 99 });
    model.load(parameters);
    expect(await model.parameters()).toEqual(parameters);
    const twin = new WordModelReference(WORDS);
    twin.load(parameters);
    const { tokens, targets } = sentences(3);
    const plan = await model.plan({ batch: BATCH, returnWeights: true });
    const [got, expected] = [await plan.forward(tokens, targets), twin.forward(tokens, targets)];
    expectWithin('output', dataOf(got), dataOf(expected), 1e-5);
    model.destroy();
  });
});

onDevices('trainable, what is an error', (attention) => {
  test.each([
    [{ width: 0 }, 'option', 'createTrainableSelfAttention: width is 0: need an integer ≥ 1'],
    [{ width: 6, heads: 4 }, 'shape', 'createTrainableSelfAttention: heads is 4, width is 6: heads must divide it'],
    [{ width: 6, seed: -1 }, 'option', 'createTrainableSelfAttention: seed is -1: need an integer from 0 to 2^32 − 1'],
    [{ width: 6, causal: true }, 'option', 'createTrainableSelfAttention: unknown option "causal"'],
  ])('layer %o', async (options, code, message) => {
    await expect(createTrainableSelfAttention(attention(), options as TrainableOptions)).rejects.toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    );
  });

  test('parameters that do not fit a binding', async ({ skip }) => {
    skip(attention().device.limits.maxStorageBufferBindingSize > 2 ** 27, 'would allocate more than 128 MiB');
    await expect(createTrainableSelfAttention(attention(), { width: 2056 })).rejects.toThrow(
      expect.objectContaining({
        code: 'limit',
        message: expect.stringContaining('createTrainableSelfAttention: moments [2,16908544] needs'),
      }),
    );
  });

  test('plans and tensors that do not fit, by name and value', async () => {
    const model = await createWordModel(attention(), WORDS);
    const layer = await createTrainableSelfAttention(attention(), { width: 4 });
    const expectError = (act: () => Promise<unknown>, code: string, message: string) =>
      expect(act()).rejects.toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
    await expectError(() => layer.plan({ batch: 1.5, length: 2 }), 'option', 'plan: batch is 1.5: need an integer ≥ 1');
    await expectError(
      () => layer.plan({ batch: 1, length: 2, backward: true, returnWeights: true }),
      'option',
      'returnWeights is true and backward too',
    );
    const plan = await layer.plan({ batch: 1, length: 2 });
    expect(() => attention().release(plan.x)).toThrow('release: tensor f32 [1,2,4] belongs to a plan');
    await expectError(() => plan.forward(tensor(1, 1, 2, 5)), 'shape', 'forward: x is [1,2,5], the plan has [1,2,4]');
    await expectError(() => plan.backward(tensor(1, 1, 2, 4)), 'option', 'backward: this plan was made without backward: true');
    await expectError(() => layer.update({ beta2: 1 }), 'option', 'update: beta2 is 1: need a number from 0 to below 1');
    expect(() => layer.load({ queryWeights: tensor(1, 4, 3) })).toThrow('load: queryWeights is [4,3]: need [4,4]');
    expect(() => layer.load({ weights: tensor(1, 4, 4) } as never)).toThrow('load: unknown option "weights"');
    const words = await model.plan({ batch: 1, backward: true });
    const seven = [0, 0, 0, 0, 0, 0, 0];
    await expectError(() => words.train([1, 2], seven), 'shape', 'train: tokens has shape [2]: need 7, one a word');
    await expectError(() => words.train([0, 0, 11, 0, 0, 0, 0], seven), 'option', 'train: tokens[2] is 11: need an integer from 0 to 10');
    await expectError(() => words.train(seven, [0, 0, 0, 0, -2, 0, 0]), 'option', 'train: targets[4] is -2: need an integer from -1 to 10');
    await expectError(
      () => words.train(seven, seven, { positionRate: -1 }),
      'option',
      'train: positionRate is -1: need a finite number ≥ 0',
    );
    await expectError(() => words.train(seven, seven, null as never), 'option', 'train: options are null: need an object');
    await expectError(
      () => createWordModel({} as Attention, WORDS),
      'option',
      'createWordModel: attention is {}: need what createAttention gave',
    );
    await expectError(() => createWordModel(attention(), { ...WORDS, vocabulary: 0 }), 'option', 'vocabulary is 0: need an integer ≥ 1');
    const compiling = layer.plan({ batch: 3, length: 2 });
    model.destroy();
    layer.destroy();
    await expectError(() => compiling, 'device-lost', 'plan: this layer was destroyed');
    await expectError(() => layer.parameters(), 'device-lost', 'parameters: this layer was destroyed');
    await expectError(() => model.plan({ batch: 1 }), 'device-lost', 'plan: this model was destroyed');
  });
});
