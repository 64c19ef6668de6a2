// Tensors that were added together, as a backend gets them.

import type { Rule } from '../rules/rule.js';
import type { Tensor } from './layout.js';
import type { ByteRange } from './memory.js';

/** Tensors that were added to a group together. A backend lays them out as one block. */
export interface Section {
  /** Its index among all sections of the optimizer. */
  readonly index: number;
  readonly rule: Rule;
  /** All rules that run on its arrays: `rule`, and the one that changes the mode. */
  readonly rules: readonly Rule[];
  /** Names in the caller's order. */
  readonly names: readonly string[];
  /** Tensors that decay come first, so that tensors with the same scalars are neighbours. */
  readonly tensors: readonly Tensor[];
}

/** The initial values of each tensor, in an array or in GPU memory. Only used while memory is allocated. */
export type Sources = ReadonlyMap<Tensor, Float32Array | ByteRange>;

/** New tensors, and their initial values. */
export interface NewTensors {
  readonly sections: readonly Section[];
  readonly sources: Sources;
  readonly memory: ByteRange['kind'];
}

/** Calls `make` for each tensor. Returns the results by name, in the caller's order. */
export function byName<Value>(
  sections: readonly Section[],
  make: (section: number, tensor: Tensor) => Value,
): [string, Value][] {
  return sections.flatMap(({ index, names, tensors }) => {
    const made = new Map(tensors.map((tensor) => [tensor.name, make(index, tensor)]));
    return names.map((name): [string, Value] => [name, made.get(name)!]);
  });
}
