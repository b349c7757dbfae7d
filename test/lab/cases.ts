/** The shaders that the library compiles on an adapter, for the problems that the lab looks at. */
import { type AttentionProblem, createAttention } from '../../src/index.ts';
import { type LabAdapter, recordingDevice, type Shader } from './recording-device.ts';

export interface Case extends Shader {
  readonly name: string; // kernel and problem
  readonly problems: readonly string[]; // other problems that take the same shader
}

interface Phase {
  readonly N: number;
  readonly M: number;
  readonly backward?: true;
}

const PHASES: Readonly<Record<string, Phase>> = {
  prefill: { N: 1024, M: 1024 },
  decode: { N: 1, M: 4096 },
  backward: { N: 1024, M: 1024, backward: true },
};

export async function casesOf(adapter: LabAdapter, heads: readonly number[]): Promise<Case[]> {
  const cases = new Map<string, { label: string; problems: string[] }>();
  for (const [name, phase] of Object.entries(PHASES)) {
    for (const D of heads) {
      for (const dtype of adapter.features.includes('shader-f16') ? (['f32', 'f16'] as const) : (['f32'] as const)) {
        for (const isCausal of [false, true]) {
          const problem = `${name} D${D} ${dtype}${isCausal ? ' causal' : ''}`;
          for (const { label, code } of await shadersOf(adapter, problemOf(phase, D, dtype, isCausal))) {
            const known = cases.get(code) ?? { label, problems: [] };
            known.problems.push(problem);
            cases.set(code, known);
          }
        }
      }
    }
  }
  return [...cases].map(([code, { label, problems }]) => ({ name: `${label.split(' ')[0]} ${problems[0]}`, label, code, problems }));
}

function problemOf({ N, M, backward }: Phase, D: number, dtype: 'f32' | 'f16', isCausal: boolean): AttentionProblem {
  const k = { shape: [1, 8, M, D], dtype };
  return { q: { shape: [1, 8, N, D], dtype }, k, v: k, isCausal, causalOffset: 'lower-right', ...(backward && { backward }) };
}

/** One a step of the problem's plan. */
async function shadersOf(adapter: LabAdapter, problem: AttentionProblem): Promise<Shader[]> {
  const { device, shaders } = recordingDevice(adapter);
  const attention = await createAttention({ device });
  const { kernels } = await attention.plan(problem);
  const names = kernels.map(({ name }) => name);
  return shaders.filter(({ label }) => names.includes(label.split(' ')[0]!));
}
