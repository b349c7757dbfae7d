/** Attention as PyTorch computes it, in f64. Cases in f16 and bf16 run widened to f32. */
import { casesBase, torchCases } from 'virtual:outside-cases';
import { describe, expect, test } from 'vitest';
import type { AttentionOptions, GpuTensor } from '../../src/index.ts';
import { type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { ABSENT, type CaseTensor, readCase } from './outside-case.ts';

interface Attributes {
  readonly scale: number;
  readonly causal: 'top-left' | 'bottom-right' | null;
  readonly softcap: number;
  readonly kv_lengths: number[] | null;
  readonly window: [number, number] | null; // −1: unlimited
  readonly dropout_p: number;
}

const optionsOf = ({ scale, causal, softcap, window }: Attributes) => ({
  ...{ scale, softcap, returnLse: true, isCausal: causal !== null },
  causalOffset: causal === 'bottom-right' ? ('lower-right' as const) : 0,
  ...(window && { window: window.map((reach) => (reach < 0 ? Number.POSITIVE_INFINITY : reach)) as [number, number] }),
});

/** Within 5e-6, relative to the largest value where that exceeds 1. */
function expectNear(what: string, actual: ArrayLike<number>, expected: CaseTensor, within = 5e-6): void {
  const largest = expected.data.reduce((max, value) => (value > -3e38 ? Math.max(max, Math.abs(value)) : max), 1);
  for (const [i, value] of expected.data.entries()) {
    const isRight = value <= -3e38 ? actual[i]! <= -3e38 : Math.abs(actual[i]! - value) <= within * largest;
    if (!isRight) expect.fail(`${what}[${i}] is ${actual[i]}, not ${value}`);
  }
}

const booleans = ({ data, shape }: CaseTensor) => ({ data: Uint8Array.from(data), shape });
const maskOf = (mask: CaseTensor) => (mask.dtype === 'bool' ? booleans(mask) : mask);

describe.skipIf(!casesBase)('PyTorch, forward and log-sum-exp', () => {
  const names = casesBase ? torchCases : [ABSENT];

  test.each(names)('the reference: %s', async (name) => {
    const { attributes, inputs, outputs } = await readCase(name);
    const given = attributes as unknown as Attributes;
    const { Q, K, V, mask, alibi_slopes: alibiSlopes, dropout_keep: keep } = inputs;
    const options: ReferenceOptions = {
      ...optionsOf(given),
      ...(mask && { mask: maskOf(mask) }),
      ...(given.kv_lengths && { keyLengths: given.kv_lengths }),
      ...(alibiSlopes && { alibiSlopes }),
      ...(keep && { dropout: { probability: given.dropout_p, seed: 0 }, keep: booleans(keep) }),
    };
    const { out, lse } = scaledDotProductAttention(Q!, K!, V!, options);
    expectNear('out', out.data, outputs.Y!, 1e-6);
    expectNear('lse', lse!.data, outputs.LSE!, 1e-6);
  });

  // Dropout with a given mask is the reference's alone: on the GPU the seed decides.
  onDevices('the GPU', (attention) => {
    for (const algorithm of ['fused', 'explicit'] as const) {
      test.each(names.filter((name) => !name.includes('dropout')))(`${algorithm}: %s`, async (name) => {
        const { attributes, inputs, outputs } = await readCase(name);
        const given = attributes as unknown as Attributes;
        const on = attention();
        const made: GpuTensor[] = [];
        const upload = (tensor: CaseTensor | ReturnType<typeof booleans>) => {
          made.push(on.upload(tensor.data, tensor.shape));
          return made.at(-1)!;
        };
        const { Q, K, V, mask, alibi_slopes: alibiSlopes } = inputs;
        const lengths = given.kv_lengths;
        const options: AttentionOptions = {
          ...{ ...optionsOf(given), algorithm },
          ...(mask && { mask: upload(maskOf(mask)) }),
          ...(lengths && { keyLengths: on.upload(Uint32Array.from(lengths), [lengths.length]) }),
          ...(alibiSlopes && { alibiSlopes: upload(alibiSlopes) }),
        };
        const { out, lse } = await on.scaledDotProductAttention(upload(Q!), upload(K!), upload(V!), options);
        expectNear('out', (await on.download(out)).data, outputs.Y!);
        expectNear('lse', (await on.download(lse!)).data, outputs.LSE!);
        on.release(...made, out, lse!, ...(options.keyLengths ? [options.keyLengths] : []));
      });
    }
  });
});
