// The public table of kernels.

import { arraysOf } from '../backends/layout.js';
import * as rules from '../rules/table.js';
import type { Rule } from '../rules/rule.js';

/** The name of a kernel: 'adam', ... */
export type KernelName = keyof typeof rules;

/** A kernel, in WebAssembly and in WGSL. */
export interface KernelDescription {
  /** Its name, as in `kernels`. */
  readonly name: KernelName;
  /** The names of its scalars: number i is the f32 at byte 4*i of the block of scalars. */
  readonly scalars: readonly string[];
  /**
   * The names of its f32 arrays, in the order of arguments and bindings. All have the same length; updated in place.
   */
  readonly arrays: readonly string[];
  /** The slots that start as a copy of `param`. The others start at zero. */
  readonly fromParam: readonly string[];
}

const describe = ([name, rule]: [string, Rule]): [string, KernelDescription] => {
  const { scalars, fromParam } = rule;
  return [name, Object.freeze({ name: name as KernelName, scalars, arrays: arraysOf(rule), fromParam })];
};

/** All kernels by name. */
export const kernels = /* @__PURE__ */ Object.freeze(
  /* @__PURE__ */ Object.fromEntries(/* @__PURE__ */ Object.entries(rules as Record<string, Rule>).map(describe)),
) as Readonly<Record<KernelName, KernelDescription>>;
