/** The plan of a problem before it is compiled: its steps, and the workspace that the steps share. */
import type { Problem } from '../contract/problem.ts';
import type { Step } from '../gpu/program.ts';

/** What lies in the workspace: the N×M weights, the table of slopes and sinks, the splits' parts, or nothing. */
export interface Workspace {
  readonly resource: 'weights' | 'heads' | 'splits' | undefined;
  readonly bytes: number;
  readonly statsOffset?: number; // byte at which the splits' maxima and sums begin, after the splits' parts of out
}

/** A problem prepared for one device, before anything is compiled. */
export interface Prepared {
  readonly problem: Problem;
  readonly steps: readonly Step[];
  readonly workspace: Workspace;
  /** Steps and workspace of the same problem with the most keys. Only where calls with more and more keys are expected: a decoder's. */
  readonly longer?: Pick<Prepared, 'steps' | 'workspace'>;
}
