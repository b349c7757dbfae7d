/** This package: a plan, encoded and submitted call by call. */
import { type Algorithm, type AttentionPlan, type BackwardTensors, createAttention } from '../../src/index.ts';
import type { Given, Player } from './player.ts';
import { join } from './works.ts';

/** The parts of a variant that tell kernels apart at a glance. */
const SHOWN = ['TILE_N', 'ROWS', 'SPLITS'];

export async function enter({ work, inputs, variant }: Given): Promise<Player> {
  const { pass: passes, length, queries, heads, keyHeads, headSize, isCausal } = work;
  const attention = await createAttention();
  const { device } = attention;
  const q = attention.upload(inputs.q, [1, heads, queries, headSize]);
  const [k, v] = [attention.upload(inputs.k, [1, keyHeads, length, headSize]), attention.upload(inputs.v, [1, keyHeads, length, headSize])];
  const out = attention.empty(q.shape);
  const hasGradient = passes !== 'forward';
  const gradients = hasGradient ? [q, k, v].map(({ shape }) => attention.empty(shape)) : [];
  const [dq, dk, dv] = gradients;
  const lse = attention.empty(q.shape.slice(0, 3));
  const gradient = attention.upload(inputs.gradient, q.shape);
  let plan: AttentionPlan | undefined;
  let workspace: GPUBuffer | undefined;
  await device.queue.onSubmittedWorkDone();
  return {
    start: async () => {
      plan = await attention.plan({ q, k, v, isCausal, algorithm: variant as Algorithm, ...(hasGradient && { backward: true }) });
      if (plan.workspaceBytes > 0) workspace = attention.empty([plan.workspaceBytes / 4]).buffer;
    },
    run: (calls) => {
      for (let i = 0; i < calls; i++) {
        const encoder = device.createCommandEncoder(); // a submission a call, as the peers do
        const pass = encoder.beginComputePass();
        const tensors = { q, k, v, out, ...(hasGradient && { lse }), ...(workspace && { workspace }) };
        plan!.encode(pass, tensors);
        if (hasGradient) plan!.encodeBackward(pass, { ...tensors, gradient, dq, dk, dv } as BackwardTensors);
        pass.end();
        device.queue.submit([encoder.finish()]);
      }
      return device.queue.onSubmittedWorkDone() as Promise<void>;
    },
    read: async () =>
      join(await Promise.all([out, ...gradients].map(async (tensor) => (await attention.download(tensor)).data as Float32Array))),
    how: () =>
      plan!.kernels
        .map(({ name, variant: parts }) =>
          [name, ...SHOWN.filter((part) => part in parts).map((part) => `${part}=${parts[part]}`)].join(' '),
        )
        .join(' + '),
  };
}
