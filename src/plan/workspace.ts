/** What a problem is planned as: the steps, and the workspace that they share. */
import type { Problem } from '../contract/problem.ts';
import type { Step } from '../gpu/program.ts';

/** What lies in the workspace. */
export interface Workspace {
  readonly resource: 'weights' | 'heads' | 'splits' | undefined;
  readonly bytes: number;
  readonly statsOffset?: number; // of the splits
}

/** A problem made ready for one device, before anything is compiled. */
export interface Prepared {
  readonly problem: Problem;
  readonly steps: readonly Step[];
  readonly workspace: Workspace;
  /** What the same problem with more keys may need, where calls with more keys are to be expected. */
  readonly longer?: Pick<Prepared, 'steps' | 'workspace'>;
}
