/** Attention as PyTorch computes it, in f64. Cases in bf16 run widened to f32, and so do those in f16 where a device has none. */
import { describe, expect, test } from 'vitest';
import type { Attention, AttentionOptions, GpuTensor } from '../../src/index.ts';
import { type BooleanTensor, type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { areAbsent, casesOf, expectNear, floatOn, hostMask, readCase, type Uploadable, uploadCase } from './outside-case.ts';
import { type Attributes, optionsOf } from './torch-case.ts';

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
  const casesBy = (algorithm: 'fused' | 'explicit') => (attention: () => Attention) => {
    test.each(names.filter((name) => !name.includes('dropout')))(`${algorithm}: %s`, async (name) => {
      const { attributes, inputs, outputs } = await readCase(name);
      const given = attributes as unknown as Attributes;
      const on = attention();
      const made: GpuTensor[] = [];
      const upload = (tensor: Uploadable) => {
        made.push(uploadCase(on, tensor));
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
      expect(out.dtype).toBe(floatOn(on, Q!.dtype));
      expectNear('out', (await on.download(out)).data, outputs.Y!.data, 5e-6, out.dtype === 'f16' ? 2 ** -11 : 0);
      expectNear('lse', (await on.download(lse!)).data, outputs.LSE!.data);
      on.release(...made, out, lse!, ...(options.keyLengths ? [options.keyLengths] : []));
    });
  };
  onDevices('the GPU', casesBy('fused'));
  onDevices('the GPU', casesBy('explicit'), ['default device']); // its kernels need no feature
});
