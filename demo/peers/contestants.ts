/** Who is measured. */

export interface Contestant {
  readonly name: string;
  readonly group: string; // what --only calls it
  readonly module: 'ours' | 'jax' | 'tfjs' | 'onnxruntime';
  readonly variant: string;
  readonly package?: string; // whose version is shown; ours has none
  readonly isGpu: boolean;
  readonly runsInNode: boolean;
  readonly hasGradient?: true; // and not the answer alone
}

const jax = '@jax-js/jax';
const tfjs = '@tensorflow/tfjs-backend-webgpu';
const ort = 'onnxruntime-web';
const ours = { group: 'ours', module: 'ours', isGpu: true, runsInNode: true } as const;
const onGpu = { group: 'ort', module: 'onnxruntime', package: ort, isGpu: true, runsInNode: false } as const;

export const CONTESTANTS: readonly Contestant[] = [
  { ...ours, name: 'webgpu-attention', variant: 'auto', hasGradient: true },
  { ...ours, name: 'webgpu-attention explicit', variant: 'explicit' },
  { name: jax, group: 'jax', module: 'jax', variant: '', package: jax, isGpu: true, runsInNode: true, hasGradient: true },
  { name: tfjs, group: 'tfjs', module: 'tfjs', variant: '', package: tfjs, isGpu: true, runsInNode: false },
  { ...onGpu, name: `${ort} steps`, variant: 'steps' },
  { ...onGpu, name: `${ort} attention`, variant: 'attention' },
  // On SwiftShader (subgroups of 4) the operator of 1.30.0 gives wrong answers; without the feature it takes another path (24 Nov 2026).
  { ...onGpu, name: `${ort} attention, no subgroups`, variant: 'attention-without-subgroups' },
  { ...onGpu, name: `${ort} wasm`, group: 'wasm', variant: 'wasm', isGpu: false },
];
export const GROUPS = [...new Set(CONTESTANTS.map(({ group }) => group))];
