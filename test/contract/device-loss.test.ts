/** A device lost at any moment: every call says 'device-lost', whatever the engine throws, and every clean-up ends. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Attention,
  createAttention,
  createTrainableSelfAttention,
  createWordModel,
  type GpuTensor,
  selfAttention,
} from '../../src/index.ts';
import { type Losing, losingDevice } from '../rig/losing.ts';
import { randomArray } from '../rig/random.ts';

const lost = expect.objectContaining({ name: 'AttentionError', code: 'device-lost' });

const THROWN: Record<string, (method: string) => unknown> = {
  OperationError: (method) => new DOMException(`${method}: the device is lost`, 'OperationError'),
  InvalidStateError: (method) => new DOMException(`${method}: the device is lost`, 'InvalidStateError'),
  Error: (method) => new Error(`${method}: Instance dropped`),
};

/** What a call needs, made while the device is whole. */
type Prepare = (on: Attention) => Promise<() => unknown>;
const tensor = (on: Attention, seed: number): GpuTensor => on.upload(randomArray(seed, 24), [1, 2, 3, 4]);
const WORDS = { vocabulary: 4, length: 2, width: 2 };

const CALLS: Record<string, Prepare> = {
  upload: async (on) => () => on.upload([1, 2], [2]),
  empty: async (on) => () => on.empty([2000]),
  download: async (on) => {
    const made = tensor(on, 1);
    return () => on.download(made);
  },
  scaledDotProductAttention: async (on) => {
    const q = tensor(on, 1);
    return () => on.scaledDotProductAttention(q, q, q);
  },
  backward: async (on) => {
    const q = tensor(on, 1);
    const { out, lse } = await on.scaledDotProductAttention(q, q, q, { returnLse: true });
    return () => on.backward(q, { q, k: q, v: q, out, lse: lse! });
  },
  projectBackward: async (on) => {
    const [x, w] = [tensor(on, 1), on.upload(randomArray(2, 16), [4, 4])];
    return () => on.projectBackward(x, x, w);
  },
  plan: async (on) => {
    const q = tensor(on, 1);
    return () => on.plan({ q, k: q, v: q });
  },
  selfAttention: async (attention) => () =>
    selfAttention(
      [
        [1, 2],
        [3, 4],
      ],
      {
        attention,
        queryWeights: [
          [1, 2],
          [3, 4],
        ],
      },
    ),
  createTrainableSelfAttention: async (on) => () => createTrainableSelfAttention(on, { width: 2 }),
  forward: async (on) => {
    const plan = await (await createTrainableSelfAttention(on, { width: 2 })).plan({ batch: 1, length: 2 });
    return () =>
      plan.forward([
        [
          [1, 2],
          [3, 4],
        ],
      ]);
  },
  parameters: async (on) => {
    const model = await createWordModel(on, WORDS);
    return () => model.parameters();
  },
  load: async (on) => {
    const model = await createWordModel(on, WORDS);
    return () => model.load({ classBias: [1, 2, 3, 4] });
  },
  update: async (on) => {
    const layer = await createTrainableSelfAttention(on, { width: 2 });
    return () => layer.update();
  },
  train: async (on) => {
    const plan = await (await createWordModel(on, WORDS)).plan({ batch: 1, backward: true });
    return () => plan.train([0, 1], [1, 2]);
  },
};

const unhandled: string[] = [];
const note = (event: PromiseRejectionEvent) => {
  event.preventDefault();
  unhandled.push(String(event.reason));
};
beforeEach(() => {
  unhandled.length = 0;
  window.addEventListener('unhandledrejection', note);
});
afterEach(() => window.removeEventListener('unhandledrejection', note));

/** Loses a device at the `count`-th call of `prepare`'s. @returns whether the call came so far */
async function loseAt(count: number, prepare: Prepare, thrown: (method: string) => unknown): Promise<boolean> {
  const losing: Losing = await losingDevice(thrown);
  const on = await createAttention({ device: losing.device });
  const call = await prepare(on);
  losing.loseAt(count);
  const outcome = await (async () => call())().then(
    () => undefined,
    (error: unknown) => error,
  );
  if (losing.isLost) {
    // What the call had already when the device was lost may still be given.
    if (outcome !== undefined) expect(outcome, `at engine call ${count}`).toEqual(lost);
    await losing.device.lost;
    await expect((async () => call())(), `after engine call ${count}`).rejects.toThrow(lost);
  } else expect(outcome).toBeUndefined();
  const wasLost = losing.isLost;
  on.destroy();
  return wasLost;
}

const COMPILES = ['scaledDotProductAttention', 'backward', 'plan', 'selfAttention', 'forward', 'train'];
describe.each(Object.entries(CALLS))('%s', (name, prepare) => {
  test('lost at one after the other of its calls to the engine', async () => {
    const next = (count: number) => (COMPILES.includes(name) ? 2 * count + 1 : count + 1); // 1, 3, 7, 15, … where each device compiles anew
    let count = 1;
    while (await loseAt(count, prepare, THROWN.OperationError!)) count = next(count);
    expect(count).toBeGreaterThan(3);
    await new Promise((resolve) => setTimeout(resolve)); // unhandled rejections are told at the end of a task
    expect(unhandled).toEqual([]);
  });
});

test.each(Object.entries(THROWN))('whatever the engine throws: %s', async (_, thrown) => {
  for (const name of ['upload', 'download', 'parameters', 'update'])
    for (const count of [1, 3, 6, 10]) await loseAt(count, CALLS[name]!, thrown);
  expect(unhandled).toEqual([]);
});

test('unmap alone throws, after the data were read', async () => {
  const on = await createAttention();
  const made = tensor(on, 1);
  const { unmap } = GPUBuffer.prototype;
  GPUBuffer.prototype.unmap = () => {
    on.device.destroy();
    throw new DOMException('the device is lost', 'OperationError');
  };
  try {
    await expect(on.download(made)).rejects.toThrow(lost);
  } finally {
    GPUBuffer.prototype.unmap = unmap;
  }
  on.destroy();
});

test('plans, layers and models of a lost device are destroyed without an error', async () => {
  const losing = await losingDevice(THROWN.OperationError!);
  const on = await createAttention({ device: losing.device });
  const q = tensor(on, 1);
  const plan = await on.plan({ q, k: q, v: q });
  const model = await createWordModel(on, WORDS);
  const words = await model.plan({ batch: 1, backward: true });
  losing.loseAt(1);
  expect(() => on.upload([1], [1])).toThrow(lost);
  for (const each of [plan, words, model, on]) each.destroy();
  const next = await createAttention();
  expect((await next.download(next.upload([7], [1]))).data).toEqual(Float32Array.of(7));
  next.destroy();
});
