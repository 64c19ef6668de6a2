// Which groups and tensors of a state dict are those of the optimizer.

import { expect, list, show } from '../errors.js';
import type { Group } from '../step/group.js';
import { readGroup, type Saved } from './saved-group.js';
import { LOOSELY } from './how.js';

/** Where a dict has a tensor. */
export interface Place {
  readonly saved: Saved;
  /** Its key in the dict's `state`. */
  readonly index: string;
}

/** The groups of a dict, and where it has which tensor, by name. */
export interface Places {
  readonly groups: readonly Saved[];
  readonly byName: ReadonlyMap<string, Place>;
}

/** Reads the groups of a dict: with `isStrict` one for each of the optimizer's, of the same names; else any. */
export function readPlaces(given: unknown, groups: readonly Group[], isStrict: boolean): Places {
  expect(Array.isArray(given), 'param_groups', isStrict ? `an array of ${groups.length}` : 'an array', given);
  const { length } = given;
  if (isStrict && length !== groups.length) {
    throw new TypeError(`Expected the number of param_groups to be ${groups.length}, got ${length}.${LOOSELY}`);
  }
  const savedGroups: Saved[] = [];
  const byName = new Map<string, Place>();
  const indices = new Set<number>();
  for (let g = 0; g < length; g++) {
    const saved = readGroup(given[g], g, isStrict ? groups[g].names : undefined);
    savedGroups.push(saved);
    for (const [i, name] of saved.names.entries()) {
      const index = saved.indices[i];
      const again = indices.has(index) ? `Parameter ${index}` : byName.has(name) ? `The parameter ${show(name)}` : '';
      if (again !== '') throw new TypeError(`${again} is listed twice in the state dict, again${saved.where}.`);
      indices.add(index);
      byName.set(name, { saved, index: String(index) });
    }
  }
  return { groups: savedGroups, byName };
}

/**
 * The group of the dict that has the tensors of a group of the optimizer; undefined if none has any. Throws if several
 * have some and `needsOne`: options, for example, can come from one group only.
 */
export function sourceOf({ names, index }: Group, { byName }: Places, needsOne: boolean): Saved | undefined {
  const [first, second] = new Set(names.flatMap((name) => byName.get(name)?.saved ?? []));
  if (second === undefined || !needsOne) return first;
  const both = list([first, second].map(({ names: of }) => of.find((name) => names.includes(name))!));
  const how = "make the groups as the dict has them, or (except for Schedule-Free) load with options: 'current'";
  const which = `the state dict has${first.where} and${second.where}`;
  throw new TypeError(`Group ${index} has ${both}, which ${which}: ${how}.`);
}
