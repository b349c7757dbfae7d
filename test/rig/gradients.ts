/** The gradients of a problem given as tensors on the CPU: on the GPU, and by the reference. */
import type { Attention, BackwardOptions, GpuTensor } from '../../src/index.ts';
import { backward, type HostTensor, type ReferenceBackwardOptions, scaledDotProductAttention } from '../../src/reference/index.ts';
import { type BackwardTier, QUICK_FORWARD } from './backward-tiers.ts';

export interface BackwardInputs {
  readonly q: HostTensor;
  readonly k: HostTensor;
  readonly v: HostTensor;
  readonly gradient: HostTensor;
}

/** Forward and backward on the GPU: the gradients' numbers by name. */
export async function gradientsOn(
  on: Attention,
  inputs: BackwardInputs,
  options: ReferenceBackwardOptions,
  tier?: BackwardTier,
  maskType?: 'f16',
) {
  const made: GpuTensor[] = [];
  const upload = (tensor: unknown, dtype?: 'f16') => {
    const { data, shape } = tensor as HostTensor;
    made.push(on.upload(data, shape, dtype));
    return made.at(-1)!;
  };
  const { mask, keyLengths, alibiSlopes, sinks, maskGradient, ...rest } = options;
  const { keep: _, ...plain } = rest;
  const given: BackwardOptions = {
    ...plain,
    ...(mask && { mask: upload(mask, maskType) }),
    ...(keyLengths && { keyLengths: upload({ data: Uint32Array.from(keyLengths as number[]), shape: [(keyLengths as number[]).length] }) }),
    ...(alibiSlopes && { alibiSlopes: upload(alibiSlopes) }),
    ...(sinks && { sinks: upload(sinks) }),
  };
  const [q, k, v, gradient] = [upload(inputs.q), upload(inputs.k), upload(inputs.v), upload(inputs.gradient)];
  const { out, lse } = await on.scaledDotProductAttention(q, k, v, { ...given, ...(tier && { variant: QUICK_FORWARD }), returnLse: true });
  const gradients = await on.backward(
    gradient,
    { q, k, v, out, lse: lse! },
    {
      ...given,
      ...(maskGradient && { maskGradient }),
      ...(tier && { variant: tier.variant }),
    },
  );
  const tensors = Object.entries(gradients) as [string, GpuTensor][];
  const hosts = await Promise.all(tensors.map(async ([name, each]) => [name, await on.download(each)] as const));
  on.release(...made, out, lse!, ...tensors.map(([, each]) => each));
  return Object.fromEntries(hosts);
}

/** The reference's gradients. */
export function expectedOf({ q, k, v, gradient }: BackwardInputs, options: ReferenceBackwardOptions) {
  const { maskGradient, ...rest } = options;
  const { out, lse } = scaledDotProductAttention(q, k, v, { ...rest, returnLse: true });
  return backward(gradient, { q, k, v, out, lse: lse! }, options);
}

/** The numbers of tensors by name. */
export const dataOf = (tensors: object) =>
  Object.fromEntries(Object.entries(tensors as Record<string, HostTensor>).map(([name, { data }]) => [name, data]));
