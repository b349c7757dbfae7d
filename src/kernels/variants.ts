/** The kernels whose constants can be forced, by what they compute, and the types of their variants. The names are those of the kernels' records. */
import type { VariantOf } from '../gpu/kernel.ts';
import type { context } from './context.ts';
import type { flashBackwardDkv } from './flash_backward_dkv.ts';
import type { flashBackwardDkvQuad } from './flash_backward_dkv_quad.ts';
import type { flashBackwardDkvRow } from './flash_backward_dkv_row.ts';
import type { flashBackwardDq } from './flash_backward_dq.ts';
import type { flashBackwardDqQuad } from './flash_backward_dq_quad.ts';
import type { flashBackwardDqRow } from './flash_backward_dq_row.ts';
import type { flashBackwardMask } from './flash_backward_mask.ts';
import type { flashDecode } from './flash_decode.ts';
import type { flashForward } from './flash_forward.ts';
import type { flashForwardQuad } from './flash_forward_quad.ts';
import type { flashForwardRow } from './flash_forward_row.ts';
import type { scores } from './scores.ts';
import type { softmax } from './softmax.ts';

type Explicit = typeof scores | typeof softmax | typeof context;
type Fused = typeof flashForward | typeof flashForwardQuad | typeof flashForwardRow | typeof flashDecode;
type BackwardDq = typeof flashBackwardDq | typeof flashBackwardDqQuad | typeof flashBackwardDqRow;
type BackwardDkv = typeof flashBackwardDkv | typeof flashBackwardDkvQuad | typeof flashBackwardDkvRow;
type Backward = BackwardDq | BackwardDkv | typeof flashBackwardMask;

export type ExplicitKernel = Explicit['name'];
export type FusedKernel = Fused['name'];
export type BackwardKernel = Backward['name'];

/** By kernel a value for each of its constants. */
export type Variants = { readonly [Kernel in Explicit | Fused | Backward as Kernel['name']]: VariantOf<Kernel> };

/** What the option `variant` can force: kernels, and constants of theirs. */
export type KernelVariants = { readonly [Name in keyof Variants]?: Partial<Variants[Name]> };
