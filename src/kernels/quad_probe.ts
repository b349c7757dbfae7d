import { type Kernel, write } from '../gpu/kernel.ts';

/** Counts the invocations whose quad, or whose 8 or 16 lanes of a wider subgroup, do not follow local_invocation_index. */
export const quadProbe: Kernel = {
  name: 'quad_probe',
  source: () => import('../../shaders/quad_probe.wgsl?raw'),
  bindings: [write('out')],
  enable: ['subgroups'],
};
