// Assembles the WGSL source of a kernel, and says how it is dispatched.

import prelude from '../../../wgsl/prelude.wgsl';
import scalar from '../../../wgsl/scalar.wgsl';
import vec4 from '../../../wgsl/vec4.wgsl';

/** What one invocation updates: four elements, or one if the length of a caller's array is not a multiple of four. */
export const variants = { vec4, scalar } as const;
export type Variant = keyof typeof variants;
export const lanes: Readonly<Record<Variant, number>> = { vec4: 4, scalar: 1 };

/** Returns the complete source of a kernel. `source` is its own file. */
export const shader = (source: string, variant: Variant): string => [variants[variant], prelude, source].join('\n');

/** Invocations in a workgroup: a multiple of every known subgroup size. Every device allows up to 256. */
export const WORKGROUP = 64;

/** Arranges `count` workgroups in rows of at most `most`. */
export function inRows(count: number, most: number): [x: number, y: number] {
  const rows = Math.max(1, Math.ceil(count / most));
  return [Math.ceil(count / rows), rows];
}
