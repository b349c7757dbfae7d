/** A random problem's tensors and options: for the reference, and on a device among poison. */
import type { AttentionOptions, DType, GpuTensor } from '../../src/index.ts';
import type { HostTensor, ReferenceOptions } from '../../src/reference/index.ts';
import { placeBytes } from '../rig/gpu.ts';
import type { FuzzInputs } from './inputs.ts';
import type { FuzzProblem } from './problem.ts';

const plainOptions = (p: FuzzProblem) => ({
  ...{ isCausal: p.isCausal, causalOffset: p.causalOffset, softcap: p.softcap, returnLse: true },
  ...(p.scale !== undefined && { scale: p.scale / Math.sqrt(p.D) }),
  ...(p.window && { window: p.window }),
  ...(p.dropout > 0 && { dropout: { probability: p.dropout, seed: p.seed } }),
});

export const host = (data: HostTensor['data'], ...shape: number[]): HostTensor => ({ data, shape });

/** q, k and v for the reference, and its options. */
export function hostTensors(p: FuzzProblem, { q, k, v, mask, lengths, slopes, sinks }: FuzzInputs) {
  const { B, Hk, N, M, D, Dv } = p;
  const H = Hk * p.group;
  const options: ReferenceOptions = {
    ...plainOptions(p),
    ...(mask && { mask: mask as ReferenceOptions['mask'] & object }),
    ...(lengths && { keyLengths: lengths }),
    ...(slopes && { alibiSlopes: host(slopes, H) }),
    ...(sinks && { sinks: host(sinks, H) }),
  };
  return { q: host(q, B, H, N, D), k: host(k, B, Hk, M, D), v: host(v, B, Hk, M, Dv), options };
}

/** Places a problem's tensors on a device, each in a buffer of its own. */
export class Placer {
  private readonly made: GPUBuffer[] = [];

  constructor(
    private readonly device: GPUDevice,
    private readonly p: FuzzProblem,
  ) {}

  put(values: ArrayLike<number>, shape: readonly number[], dtype: DType, strides?: number[]): GpuTensor {
    const tensor = placeBytes(this.device, values, shape, { dtype, offset: 4 * this.p.offset, ...(strides && { strides }) });
    this.made.push(tensor.buffer);
    return tensor;
  }

  /** [B,heads,rows,width], with the problem's gaps and order. */
  view(values: ArrayLike<number>, dtype: DType, heads: number, rows: number, width: number): GpuTensor {
    const row = width + this.p.gap;
    const strides = this.p.isInterleaved ? [rows * heads * row, row, heads * row, 1] : [heads * rows * row, rows * row, row, 1];
    return this.put(values, [this.p.B, heads, rows, width], dtype, strides);
  }

  /** q, k and v, and the options with their tensors. */
  inputs({ q, k, v, mask, lengths, slopes, sinks }: FuzzInputs) {
    const { B, Hk, N, M, D, Dv, qType, kType } = this.p;
    const H = Hk * this.p.group;
    const options: AttentionOptions = {
      ...plainOptions(this.p),
      ...(mask && { mask: this.put(mask.data, mask.shape, this.p.mask!.kind) }),
      ...(lengths && { keyLengths: this.put(lengths, [B], 'u32') }),
      ...(slopes && { alibiSlopes: this.put(slopes, [H], 'f32') }),
      ...(sinks && { sinks: this.put(sinks, [H], 'f32') }),
    };
    return { q: this.view(q, qType, H, N, D), k: this.view(k, kType, Hk, M, D), v: this.view(v, kType, Hk, M, Dv), options };
  }

  destroy(): void {
    for (const buffer of this.made) buffer.destroy();
  }
}
