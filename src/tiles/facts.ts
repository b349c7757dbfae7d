/** What tile sizes depend on, and the choice of the algorithm: a pure function of the problem and what the caller forces. */
import { AttentionError, quote } from '../contract/errors.ts';
import type { Problem } from '../contract/problem.ts';
import type { Variant } from '../gpu/kernel.ts';

/** What tile sizes depend on. */
export interface DeviceFacts {
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number; // bytes
  readonly isSoftware: boolean; // the device runs on the CPU
  readonly hasQuads: boolean; // subgroups, with quads in the order of local_invocation_index
  readonly vendor: string; // as the adapter spells it, '' where it does not tell
  readonly architecture: string;
  readonly subgroupSizes: readonly [number, number]; // least and largest
  readonly canFixSubgroupSize: boolean; // feature subgroup-size-control
}

export function deviceFacts({ limits, features, adapterInfo }: GPUDevice, hasQuads: boolean): DeviceFacts {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = limits;
  return {
    maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupStorageSize,
    isSoftware: adapterInfo?.isFallbackAdapter ?? false,
    hasQuads,
    vendor: adapterInfo?.vendor ?? '',
    architecture: adapterInfo?.architecture ?? '',
    subgroupSizes: [adapterInfo?.subgroupMinSize ?? 4, adapterInfo?.subgroupMaxSize ?? 128],
    canFixSubgroupSize: (features as ReadonlySet<string>).has('subgroup-size-control'),
  };
}

export interface Choice {
  readonly variant: Variant;
  readonly reason: string;
}

/** Choices by the kernel's name. */
export type Tiles<Name extends string> = Readonly<Record<Name, Choice>>;
export type ExplicitKernel = 'scores' | 'softmax' | 'context';

const MAX_FUSED_HEAD = 256; // elements of a head that the fused kernels take

/** Fused wherever it can. @throws AttentionError 'unsupported' when fused was asked for and cannot be */
export function chooseAlgorithm(problem: Problem): { algorithm: 'explicit' | 'fused'; reason: string } {
  const { D, Dv, returnScores, returnWeights, algorithm, forcedBy } = problem;
  const obstacle =
    returnScores !== undefined || returnWeights
      ? `returnScores is ${quote(returnScores ?? 'weights')}, and the fused pass never has the N×M scores`
      : Math.max(D, Dv) > MAX_FUSED_HEAD
        ? `D is ${D} and Dv ${Dv}, and the fused pass takes ${MAX_FUSED_HEAD} at most`
        : undefined;
  const why = forcedBy === 'tuning' ? 'the fastest that tune measured' : `${algorithm} was asked for`;
  if (algorithm === 'explicit') return { algorithm, reason: why };
  if (obstacle === undefined) return { algorithm: 'fused', reason: algorithm === 'fused' ? why : 'auto takes fused' };
  if (algorithm === 'fused') throw new AttentionError('unsupported', `algorithm is "fused": ${obstacle}`);
  return { algorithm: 'explicit', reason: `auto takes explicit: ${obstacle}` };
}
