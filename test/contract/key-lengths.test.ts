/** Key lengths as people write them: [B], [B,1] as ONNX does, and one for a batch of one. */
import { expect, test } from 'vitest';
import type { HostData } from '../../src/index.ts';
import * as reference from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';

onDevices('key lengths', (attention) => {
  test('of [B,1], of one, and planned', async () => {
    const on = attention();
    const [B, H, N, M, D] = [3, 1, 2, 5, 4];
    const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));
    const [q, k] = [on.upload(numbers(B * H * N * D), [B, H, N, D]), on.upload(numbers(B * H * M * D), [B, H, M, D])];
    const attendWith = async (data: HostData, shape?: number[]) => {
      const keyLengths = on.upload(data, shape);
      const { out } = await on.scaledDotProductAttention(q, k, k, { keyLengths });
      const result = await on.download(out);
      on.release(keyLengths, out);
      return result.data;
    };
    const expected = await attendWith(Uint32Array.of(5, 0, 2));
    expect(await attendWith(BigInt64Array.of(5n, 0n, 2n), [3, 1])).toEqual(expected);
    expect(await attendWith([Int32Array.of(5), Int32Array.of(0), Int32Array.of(2)])).toEqual(expected);
    const plan = await on.plan({ q, k, v: k, keyLengths: true });
    const [out, keyLengths] = [on.empty([B, H, N, D]), on.upload(Int32Array.of(5, 0, 2), [3, 1])];
    const workspace = plan.workspaceBytes > 0 ? { workspace: on.empty([plan.workspaceBytes / 4]).buffer } : {};
    const encoder = on.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    plan.encode(pass, { q, k, v: k, out, keyLengths, ...workspace });
    pass.end();
    on.device.queue.submit([encoder.finish()]);
    expect((await on.download(out)).data).toEqual(expected);
    const firstOf = (tensor: { buffer: GPUBuffer }, rows: number) => ({
      buffer: tensor.buffer,
      dtype: 'f32' as const,
      shape: [1, 1, rows, D],
    });
    for (const shape of [[1], [1, 1]]) {
      const { out: single } = await on.scaledDotProductAttention(firstOf(q, N), firstOf(k, M), firstOf(k, M), {
        keyLengths: on.upload(Int16Array.of(2), shape),
      });
      const host = (count: number, rows: number) => ({ data: numbers(count), shape: [1, 1, rows, D] });
      const twin = reference.scaledDotProductAttention(host(N * D, N), host(M * D, M), host(M * D, M), { keyLengths: 2 });
      const { data } = await on.download(single);
      for (const [i, value] of twin.out.data.entries()) expect(data[i]).toBeCloseTo(value, 5);
    }
    plan.destroy();
  });
});
