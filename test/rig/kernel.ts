/** Runs one kernel by itself, on poisoned tensors. */
import { normalize, type Problem } from '../../src/contract/problem.ts';
import { checkLayout } from '../../src/contract/tensor.ts';
import type { Dispatch } from '../../src/gpu/kernel.ts';
import { bindingOf, Program } from '../../src/gpu/program.ts';
import { sessionOf } from '../../src/gpu/session.ts';
import type { Attention, DType, GpuTensor } from '../../src/index.ts';
import { runPass } from './gpu.ts';

/** @param tensors by binding name; what is absent is bound as the library binds it */
export async function runKernel(attention: Attention, dispatch: Dispatch, tensors: Record<string, GpuTensor | undefined>): Promise<void> {
  const { pool, absent, device } = sessionOf('test', attention);
  const steps = [{ ...dispatch, reason: 'test' }];
  const program = await Program.create('test', pool, steps);
  const present = Object.entries(tensors).filter((entry): entry is [string, GpuTensor] => entry[1] !== undefined);
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  const resources = present.map(([name, tensor]) => [name, bindingOf(tensor.buffer, checkLayout(name, tensor, 'input'), alignment)]);
  await runPass(device, (pass) => program.encode('test', pass, steps, Object.fromEntries(resources), absent));
  program.destroy();
}

/** A problem from sizes and options, with the layouts of these tensors where there are some. */
export function problemOf(
  sizes: { B?: number; H?: number; Hk?: number; N: number; M: number; D?: number; Dv?: number },
  options: object = {},
  dtype: DType = 'f32',
): Problem {
  const { B = 1, H = 1, Hk = H, N, M, D = 1, Dv = 1 } = sizes;
  const tensor = (...shape: number[]) => ({ shape, dtype });
  return normalize('test', { q: tensor(B, H, N, D), k: tensor(B, Hk, M, D), v: tensor(B, Hk, M, Dv), ...options });
}
