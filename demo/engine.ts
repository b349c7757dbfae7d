/** Where numbers come from: the visitor's GPU, or the CPU reference where there is none. */
import { type Attention, createAttention, type SelfAttentionOptions, selfAttention } from '../src/index.ts';
import { selfAttention as onCpu } from '../src/reference/index.ts';

/** A number as computed, and as the CPU reference computes it. */
export interface Value {
  readonly value: number;
  readonly cpu: number;
}

/** Self-attention of one sentence. Scores and weights: [head][N][N]; context: [N][width]. */
export interface Attended {
  readonly scores: readonly Value[][][];
  readonly weights: readonly Value[][][];
  readonly context: readonly Value[][];
}

export interface Engine {
  readonly attention: Attention | undefined; // undefined: the CPU reference computes
  readonly name: string; // the adapter's
  attend(inputs: readonly (readonly number[])[], options?: SelfAttentionOptions): Promise<Attended>;
}

const START_MS = 60_000; // far beyond what a busy machine takes

/** createAttention with an end: a driver that hangs never answers. @throws AttentionError; Error when time is up */
export async function startAttention(): Promise<Attention> {
  const started = createAttention();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      started.then((attention) => attention.destroy()).catch(() => {}); // nobody waits for it any more
      reject(new Error(`the GPU gave no answer in ${START_MS / 1000} s`));
    }, START_MS);
  });
  try {
    return await Promise.race([started, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** An engine on the GPU. `onLost` is called when its device is lost. @throws as `startAttention` */
export async function gpuEngine(onLost: (reason: string) => void): Promise<Engine> {
  const attention = await startAttention();
  void attention.lost.then(({ message }) => onLost(message || 'the device was lost'));
  return {
    attention,
    name: describeAdapter(attention.device),
    attend: async (inputs, options = {}) => pair(await selfAttention(inputs, { ...options, attention }), inputs, options),
  };
}

export const cpuEngine: Engine = {
  attention: undefined,
  name: 'the CPU reference',
  attend: async (inputs, options = {}) => pair(onCpu(inputs, options), inputs, options),
};

/** What a visitor without WebGPU is told. */
export const NO_WEBGPU =
  globalThis.isSecureContext === false
    ? 'Browsers give WebGPU to secure pages only: open this page over HTTPS.'
    : 'This browser has no WebGPU. Current versions of Chrome and Edge have it, Safari from 26 on, Firefox on Windows and on macOS with Apple chips.';

/** The name of a device's adapter, as far as the browser tells. */
export function describeAdapter({ adapterInfo }: GPUDevice): string {
  const { vendor, architecture, device, description, isFallbackAdapter }: Partial<GPUAdapterInfo> = adapterInfo ?? {};
  const name = description || [vendor, architecture, device].filter(Boolean).join(' ') || 'an adapter without a name';
  return `${name}${isFallbackAdapter ? ' (software, on the CPU)' : ''}`;
}

function pair(computed: ReturnType<typeof onCpu>, inputs: readonly (readonly number[])[], options: SelfAttentionOptions): Attended {
  const cpu = onCpu(inputs, options);
  const N = inputs.length;
  const values = (name: 'scores' | 'weights' | 'context') =>
    Array.from(cpu[name].data, (value, i) => ({ value: computed[name].data[i]!, cpu: value }));
  const heads = (name: 'scores' | 'weights') => chunk(values(name), N * N).map((head) => chunk(head, N));
  return { scores: heads('scores'), weights: heads('weights'), context: chunk(values('context'), cpu.context.shape.at(-1)!) };
}

function chunk<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: items.length / size }, (_, i) => items.slice(i * size, (i + 1) * size));
}
