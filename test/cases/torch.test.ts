/** Attention as PyTorch computes it, in f64. Cases in f16 and bf16 run widened to f32. */
import { describe, test } from 'vitest';
import type { AttentionOptions, GpuTensor } from '../../src/index.ts';
import { type BooleanTensor, type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { areAbsent, type CaseTensor, casesOf, expectNear, hostMask, readCase } from './outside-case.ts';

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

describe.skipIf(areAbsent)('PyTorch, forward and log-sum-exp', () => {
  const names = casesOf('torch');

  test.each(names)('the reference: %s', async (name) => {
    const { attributes, inputs, outputs } = await readCase(name);
    const given = attributes as unknown as Attributes;
    const { Q, K, V, mask, alibi_slopes: alibiSlopes, dropout_keep: keep } = inputs;
    const options: ReferenceOptions = {
      ...optionsOf(given),
      ...(mask && { mask: hostMask(mask) }),
      ...(given.kv_lengths && { keyLengths: given.kv_lengths }),
      ...(alibiSlopes && { alibiSlopes }),
      ...(keep && { dropout: { probability: given.dropout_p, seed: 0 }, keep: hostMask(keep) as BooleanTensor }),
    };
    const { out, lse } = scaledDotProductAttention(Q!, K!, V!, options);
    expectNear('out', out.data, outputs.Y!.data, 1e-6);
    expectNear('lse', lse!.data, outputs.LSE!.data, 1e-6);
  });

  // Dropout with a given mask is the reference's alone: on the GPU the seed decides.
  onDevices('the GPU', (attention) => {
    for (const algorithm of ['fused', 'explicit'] as const) {
      test.each(names.filter((name) => !name.includes('dropout')))(`${algorithm}: %s`, async (name) => {
        const { attributes, inputs, outputs } = await readCase(name);
        const given = attributes as unknown as Attributes;
        const on = attention();
        const made: GpuTensor[] = [];
        const upload = (tensor: CaseTensor | ReturnType<typeof hostMask>) => {
          made.push(on.upload(tensor.data, tensor.shape));
          return made.at(-1)!;
        };
        const { Q, K, V, mask, alibi_slopes: alibiSlopes } = inputs;
        const lengths = given.kv_lengths;
        const options: AttentionOptions = {
          ...{ ...optionsOf(given), algorithm },
          ...(mask && { mask: upload(hostMask(mask)) }),
          ...(lengths && { keyLengths: on.upload(Uint32Array.from(lengths), [lengths.length]) }),
          ...(alibiSlopes && { alibiSlopes: upload(alibiSlopes) }),
        };
        const { out, lse } = await on.scaledDotProductAttention(upload(Q!), upload(K!), upload(V!), options);
        expectNear('out', (await on.download(out)).data, outputs.Y!.data);
        expectNear('lse', (await on.download(lse!)).data, outputs.LSE!.data);
        on.release(...made, out, lse!, ...(options.keyLengths ? [options.keyLengths] : []));
      });
    }
  });
});
