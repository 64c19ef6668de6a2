// The WGSL source of each kernel, by entry point.

import accumulate from '../../../wgsl/accumulate.wgsl';
import adam from '../../../wgsl/adam.wgsl';
import adam_amsgrad from '../../../wgsl/adam_amsgrad.wgsl';
import ema from '../../../wgsl/ema.wgsl';
import extrapolate from '../../../wgsl/extrapolate.wgsl';
import nadam from '../../../wgsl/nadam.wgsl';
import norm from '../../../wgsl/norm.wgsl';
import prelude from '../../../wgsl/prelude.wgsl';
import scalar from '../../../wgsl/scalar.wgsl';
import schedulefree_adamw from '../../../wgsl/schedulefree_adamw.wgsl';
import schedulefree_adamw_inner from '../../../wgsl/schedulefree_adamw_inner.wgsl';
import schedulefree_sgd from '../../../wgsl/schedulefree_sgd.wgsl';
import vec4 from '../../../wgsl/vec4.wgsl';

/** Kernels that are not rules. */
const tools = { accumulate, norm };
export type ToolName = keyof typeof tools;

const sources: Readonly<Record<string, string>> = {
  ...tools,
  adam,
  adam_amsgrad,
  ema,
  extrapolate,
  nadam,
  schedulefree_adamw,
  schedulefree_adamw_inner,
  schedulefree_sgd,
};

/** What one invocation updates: four elements, or one if the length of a caller's array is not a multiple of four. */
export const variants = { vec4, scalar } as const;
export type Variant = keyof typeof variants;
export const lanes: Readonly<Record<Variant, number>> = { vec4: 4, scalar: 1 };

/** Returns the complete source of a kernel. */
export const shader = (name: string, variant: Variant): string =>
  [variants[variant], prelude, sources[name]].join('\n');

/** Invocations in a workgroup: a multiple of every known subgroup size. Every device allows up to 256. */
export const WORKGROUP = 64;

/** Arranges `count` workgroups in rows of at most `most`. */
export function inRows(count: number, most: number): [x: number, y: number] {
  const rows = Math.max(1, Math.ceil(count / most));
  return [Math.ceil(count / rows), rows];
}
