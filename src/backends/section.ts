// Tensors that came together, as a backend gets them.

import type { Rule } from '../rules/rule.js';
import type { Tensor } from './layout.js';
import type { ByteRange } from './memory.js';

/** Tensors of one group that came together: a backend lays them out as one block. */
export interface Section {
  /** Its place among all sections of the optimizer. */
  readonly index: number;
  readonly rule: Rule;
  /** All rules that run over its arrays: `rule`, and that of a change of mode. */
  readonly rules: readonly Rule[];
  /** Names in the caller's order. */
  readonly names: readonly string[];
  /** Those that decay first: tensors that share their scalars lie side by side. */
  readonly tensors: readonly Tensor[];
}

/** Where each tensor comes from, an array or GPU memory: only needed while its memory is made, and not kept. */
export type Sources = ReadonlyMap<Tensor, Float32Array | ByteRange>;

/** New tensors, and where they come from. */
export interface NewTensors {
  readonly sections: readonly Section[];
  readonly sources: Sources;
  readonly memory: ByteRange['kind'];
}

/** Something for each tensor by name, in the order in which the caller listed them. */
export function byName<Value>(
  sections: readonly Section[],
  make: (section: number, tensor: Tensor) => Value,
): [string, Value][] {
  return sections.flatMap(({ index, names, tensors }) => {
    const made = new Map(tensors.map((tensor) => [tensor.name, make(index, tensor)]));
    return names.map((name): [string, Value] => [name, made.get(name)!]);
  });
}
