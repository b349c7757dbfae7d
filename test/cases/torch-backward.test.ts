/** The gradients of attention as PyTorch computes them, in f64. Cases in bf16 run widened to f32, and so do those in f16 where a device has none. */
import { describe, test } from 'vitest';
import type { AttentionOptions, GpuTensor } from '../../src/index.ts';
import { type BooleanTensor, backward, type ReferenceOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { backwardTiersOf, QUICK_FORWARD, skippingZeros } from '../rig/backward-tiers.ts';
import { onDevices } from '../rig/gpu.ts';
import { expectWithin, LOWEST } from '../rig/tolerance.ts';
import { areAbsent, casesOf, hostMask, type OutsideCase, readCase, type Uploadable, uploadCase } from './outside-case.ts';
import { type Attributes, optionsOf } from './torch-case.ts';

/** A gradient has three roundings to f16: of out, from which delta is computed, of the gradient itself, and of what it was multiplied by. */
const WITHIN = { f32: 2e-5, f16: 3 * 2 ** -11, bool: 0, u32: 0 };

const expectedOf = ({ dQ, dK, dV }: OutsideCase['outputs']) => ({ q: dQ!.data, k: dK!.data, v: dV!.data });

describe.skipIf(areAbsent)('PyTorch, backward', () => {
  const names = casesOf('torch');

  test.each(names)('the reference: %s', async (name) => {
    const { attributes, inputs, outputs } = await readCase(name);
    const given = attributes as unknown as Attributes;
    const { Q, K, V, dO, mask, alibi_slopes: alibiSlopes, dropout_keep: keep } = inputs;
    const options: ReferenceOptions = {
      ...optionsOf(given),
      ...(mask && { mask: hostMask(mask) }),
      ...(given.kv_lengths && { keyLengths: given.kv_lengths }),
      ...(alibiSlopes && { alibiSlopes }),
      ...(keep && { dropout: { probability: given.dropout_p, seed: 0 }, keep: hostMask(keep) as BooleanTensor }),
    };
    const { out, lse } = scaledDotProductAttention(Q!, K!, V!, options);
    const gradients = backward(dO!, { q: Q!, k: K!, v: V!, out, lse: lse! }, options);
    const { q, k, v } = gradients;
    expectWithin('gradient', { q: q.data, k: k.data, v: v.data }, expectedOf(outputs), 1e-6);
  });

  // Dropout with a given mask is the reference's alone: on the GPU the seed decides.
  onDevices('the GPU', (attention) => {
    test.each(names.filter((name) => !name.includes('dropout')))('%s', async (name) => {
      const { attributes, inputs, outputs } = await readCase(name);
      const given = attributes as unknown as Attributes;
      const on = attention();
      const made: GpuTensor[] = [];
      const upload = (tensor: Uploadable) => {
        made.push(uploadCase(on, tensor));
        return made.at(-1)!;
      };
      const { mask, alibi_slopes: alibiSlopes } = inputs;
      const lengths = given.kv_lengths && on.upload(Uint32Array.from(given.kv_lengths), [given.kv_lengths.length]);
      const options: AttentionOptions = {
        ...optionsOf(given),
        ...(mask && { mask: upload(hostMask(mask)) }),
        ...(lengths && { keyLengths: lengths }),
        ...(alibiSlopes && { alibiSlopes: upload(alibiSlopes) }),
      };
      const [q, k, v, dO] = [upload(inputs.Q!), upload(inputs.K!), upload(inputs.V!), upload(inputs.dO!)];
      // One rounding of such scores is more than a gradient may be off: the two passes must round alike.
      const hasLargeScores = outputs.LSE!.data.some((lse) => lse > LOWEST && Math.abs(lse) * 2 ** -24 > WITHIN.f32);
      for (const { name: tier, variant, alikeForward } of backwardTiersOf(on.device, Math.max(q.shape[3]!, v.shape[3]!))) {
        const forward = hasLargeScores ? alikeForward : QUICK_FORWARD;
        const { out, lse } = await on.scaledDotProductAttention(q, k, v, { ...options, variant: forward });
        const gradients = await on.backward(dO, { q, k, v, out, lse: lse! }, { ...options, variant: skippingZeros(variant) });
        const got = {
          q: (await on.download(gradients.q)).data,
          k: (await on.download(gradients.k)).data,
          v: (await on.download(gradients.v)).data,
        };
        // Where all keys have one value, dS is dO·v − dO·out, which quads sum in another order than delta is: what is left of it is measured by the
        // largest of all gradients.
        const roundings = tier === 'quad' ? WITHIN.f32 * 2 ** 24 : 1;
        expectWithin(`${tier} gradient`, got, expectedOf(outputs), WITHIN[gradients.q.dtype], roundings);
        on.release(gradients.q, gradients.k, gradients.v, out, lse!);
      }
      on.release(...made, ...(lengths ? [lengths] : []));
    });
  });
});
