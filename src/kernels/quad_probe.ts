import { type Kernel, write } from '../gpu/kernel.ts';

/** Counts the invocations whose quad is not in the order of local_invocation_index. */
export const quadProbe: Kernel = {
  name: 'quad_probe',
  source: () => import('../../shaders/quad_probe.wgsl?raw'),
  bindings: [write('out')],
  enable: ['subgroups'],
};
