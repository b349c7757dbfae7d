/** Attention as PyTorch computes it, in f64: forward and log-sum-exp of the cases whose options are supported. */
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
  readonly window: unknown;
  readonly alibi: boolean;
  readonly dropout_p: number;
}

const optionsOf = ({ scale, causal, softcap }: Attributes) => ({
  ...{ scale, softcap, returnLse: true, isCausal: causal !== null },
  causalOffset: causal === 'bottom-right' ? ('lower-right' as const) : 0,
});
const needsMore = ({ window, alibi, dropout_p }: Attributes) => Boolean(window) || alibi || dropout_p > 0;

/** Within 5e-6, relative to the largest value where that exceeds 1. */
function expectNear(what: string, actual: ArrayLike<number>, expected: CaseTensor, within = 5e-6): void {
  const largest = expected.data.reduce((max, value) => (value > -3e38 ? Math.max(max, Math.abs(value)) : max), 1);
  for (const [i, value] of expected.data.entries()) {
    const isRight = value <= -3e38 ? actual[i]! <= -3e38 : Math.abs(actual[i]! - value) <= within * largest;
    if (!isRight) expect.fail(`${what}[${i}] is ${actual[i]}, not ${value}`);
  }
}

describe.skipIf(!casesBase)(`PyTorch (${casesBase ? `${torchCases.length} cases` : ABSENT})`, () => {
  onDevices('forward and log-sum-exp', (attention) => {
    test.each(torchCases)('%s', async (name) => {
      const { attributes, inputs, outputs } = await readCase(name);
      const given = attributes as unknown as Attributes;
      const on = attention();
      const made: GpuTensor[] = [];
      const upload = (tensor: CaseTensor) => {
        made.push(tensor.dtype === 'bool' ? on.upload(Uint8Array.from(tensor.data), tensor.shape) : on.upload(tensor.data, tensor.shape));
        return made.at(-1)!;
      };
      const tensors = [upload(inputs.Q!), upload(inputs.K!), upload(inputs.V!)] as const;
      if (needsMore(given)) {
        const more = given.window
          ? { window: given.window }
          : given.alibi
            ? { alibiSlopes: tensors[0] }
            : { dropout: { probability: 0.1, seed: 1 } };
        await expect(on.scaledDotProductAttention(...tensors, more as AttentionOptions)).rejects.toThrow(
          expect.objectContaining({ code: 'unsupported' }),
        );
        on.release(...made);
        return;
      }
      const options = optionsOf(given);
      const mask = inputs.mask && { mask: upload(inputs.mask) };
      const lengths = given.kv_lengths;
      const keyLengths = lengths && { keyLengths: on.upload(Uint32Array.from(lengths), [lengths.length]) };
      const { out, lse } = await on.scaledDotProductAttention(...tensors, { ...options, ...mask, ...keyLengths });
      expectNear('out', (await on.download(out)).data, outputs.Y!);
      expectNear('lse', (await on.download(lse!)).data, outputs.LSE!);
      on.release(...made, out, lse!, ...(keyLengths ? [keyLengths.keyLengths] : []));

      const hostMask = inputs.mask && {
        mask: (inputs.mask.dtype === 'bool'
          ? { data: Uint8Array.from(inputs.mask.data), shape: inputs.mask.shape }
          : inputs.mask) as ReferenceOptions['mask'] & object,
      };
      const reference = scaledDotProductAttention(inputs.Q!, inputs.K!, inputs.V!, {
        ...options,
        ...hostMask,
        ...(lengths ? { keyLengths: lengths } : {}),
      });
      expectNear('reference out', reference.out.data, outputs.Y!, 1e-6);
      expectNear('reference lse', reference.lse!.data, outputs.LSE!, 1e-6);
    });
  });
});
