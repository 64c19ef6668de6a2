// Reads the groups of a state dict, and finds which of them has which tensor.

import { expect, isRecord, list, ownOf, show, unexpected } from '../errors.js';
import type { Group } from '../step/group.js';
import { ownProperties } from './capture.js';
import { readGroup, type SourceGroup } from './saved-group.js';
import { TO_LOAD_COMMON } from './load-options.js';

/** A tensor of a state dict. */
interface SourceTensor {
  readonly saved: SourceGroup;
  /** Its key in the dict's `state`. */
  readonly index: number;
  /** Undefined if it has not stepped yet. */
  readonly state: Record<string, unknown> | undefined;
}

/** A state dict, read once. Its options and arrays are not checked yet. */
export interface SourceDict {
  readonly state: Record<string, unknown>;
  readonly groups: readonly SourceGroup[];
  readonly byName: ReadonlyMap<string, SourceTensor>;
}

/** Reads a state dict. `expected`: the names of the tensors in each group; undefined accepts any groups. */
export function readDict(dict: unknown, expected?: readonly (readonly string[])[]): SourceDict {
  const wanted = 'a record with state and param_groups';
  const { state: states, param_groups: given } = ownProperties(dict, 'the state dict', wanted);
  expect(isRecord(states), 'the state dict', wanted, dict);
  const state = ownOf(states);
  expect(Array.isArray(given), 'param_groups', 'an array', given);
  const { length } = given;
  if (expected !== undefined && length !== expected.length) {
    const what = `the number of param_groups to be ${expected.length}`;
    throw new TypeError(`Expected ${what}, got ${length}.${TO_LOAD_COMMON}`);
  }
  const groups: SourceGroup[] = [];
  const byName = new Map<string, SourceTensor>();
  const indices = new Set<number>();
  for (let g = 0; g < length; g++) {
    const saved = readGroup(given[g], g, expected?.[g]);
    groups.push(saved);
    for (const [i, name] of saved.names.entries()) {
      const index = saved.indices[i];
      const again = indices.has(index) ? `Parameter ${index}` : byName.has(name) ? `The parameter ${show(name)}` : '';
      if (again !== '') throw new TypeError(`${again} is listed twice in the state dict, again${saved.where}.`);
      indices.add(index);
      const each = state[index];
      if (each !== undefined && !isRecord(each)) throw unexpected(`the state of ${show(name)}`, 'a record', each);
      byName.set(name, { saved, index, state: each });
    }
  }
  return { state, groups, byName };
}

/**
 * Returns the group of the state dict that has tensors of `group`; undefined if none has. Throws if several have some
 * and `needsOne`: options, for example, can come from one group only.
 */
export function sourceOf({ names, spec }: Group, { byName }: SourceDict, needsOne: boolean): SourceGroup | undefined {
  const [first, second] = new Set(names.flatMap((name) => byName.get(name)?.saved ?? []));
  if (second === undefined || !needsOne) return first;
  const both = list([first, second].map(({ names: of }) => of.find((name) => names.includes(name))!));
  const how =
    "create the same groups as the state dict has, or (except for Schedule-Free) load with options: 'current'";
  const which = `the state dict has${first.where} and${second.where}`;
  throw new TypeError(`Group ${spec.label} has ${both}, which ${which}: ${how}.`);
}
