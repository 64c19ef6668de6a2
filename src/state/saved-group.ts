// What a state dict says of a group besides its options: names, what is remembered, and the mode.

import type { AnyAlgorithm, GroupOptions, GroupState } from '../algorithms/algorithm.js';
import { Powers } from '../math/power.js';
import { canCount, countFrom, expect, list, noParameter, show } from '../errors.js';
import type { Group } from '../step/group.js';
import { copyIndices, copyNames, ownProperties } from './capture.js';
import { KEEPING, LOOSELY } from './how.js';

/** A group of a state dict, read once. */
export interface Saved {
  /** Where errors say that it is: " in param_groups[0]". */
  readonly where: string;
  readonly own: Readonly<Record<string, unknown>>;
  /** Of its tensors, in its order, and their indices in `state`. */
  readonly names: readonly string[];
  readonly indices: readonly number[];
}

/**
 * Reads group `g` of a dict. Its names have to be `expected`, or with undefined may be any. PyTorch saves names only of
 * named parameters: without them the order tells.
 */
export function readGroup(group: unknown, g: number, expected: readonly string[] | undefined): Saved {
  const where = ` in param_groups[${g}]`;
  const own = ownProperties(group, `param_groups[${g}]`, 'a record with params');
  const indices = copyIndices(own.params, 'params', where);
  const names = own.param_names === undefined ? expected : copyNames(own.param_names, 'param_names', where);
  if (names === undefined)
    throw new TypeError(`Expected param_names${where}, by which its tensors are found, got none.`);
  const known = new Set(expected ?? names);
  const rest = new Set(expected);
  const seen = new Set<string>();
  for (const name of names) {
    if (!known.has(name)) throw new TypeError(noParameter([name], where, [...known]) + LOOSELY);
    if (seen.has(name)) throw new TypeError(`The parameter ${show(name)} is listed twice${where}.`);
    seen.add(name);
    rest.delete(name);
  }
  if (rest.size > 0) throw new TypeError(`The state dict lacks the parameter ${list([...rest])}${where}.${LOOSELY}`);
  expect(indices.length === names.length, `the number of params${where}`, String(names.length), indices.length);
  return { where, own, names, indices };
}

/** The names that `key` of a saved group lists; undefined if it has no such key. */
function someOf({ own, names, where }: Saved, key: string, what: string): ReadonlySet<string> | undefined {
  if (own[key] === undefined) return undefined;
  const some = copyNames(own[key], key, where);
  const known = new Set(names);
  const unknown = some.filter((name) => !known.has(name));
  if (unknown.length > 0) throw new TypeError(`There is no parameter ${list(unknown)} to be ${what}${where}.`);
  return new Set(some);
}

/** Which tensors are to be frozen; PyTorch's dicts do not say. */
export const frozenOf = (saved: Saved): ReadonlySet<string> | undefined => someOf(saved, 'frozen', 'frozen');

/** Throws where the dict spares other tensors from decay than the optimizer's mask does. */
export function checkNoDecay(saved: Saved, { entries }: Group): void {
  const spared = someOf(saved, 'no_decay', 'spared');
  if (spared === undefined) return;
  const shared = new Set(saved.names);
  const others = entries.filter(({ tensor: { name, decays } }) => shared.has(name) && decays === spared.has(name));
  if (others.length === 0) return;
  const which = list(others.map(({ tensor }) => tensor.name));
  throw new TypeError(
    `The decay mask of this optimizer disagrees on ${which} with the state dict${saved.where}.${KEEPING}`,
  );
}

/** The state of the group, and its mode. Throws if no step with `options` could follow. */
export function parseState(
  { group, average }: AnyAlgorithm,
  options: Readonly<GroupOptions>,
  { own, where }: Saved,
): { remembered: GroupState; isTraining: boolean } {
  const remembered: GroupState = {};
  for (const [name, first] of Object.entries(group?.first ?? {})) {
    const value = own[name];
    const least = Math.min(first, 0);
    const [wanted, isGood] =
      name === 'k'
        ? [countFrom(least), canCount(value, least)]
        : [`a finite number of at least ${least}`, Number.isFinite(value) && (value as number) >= least];
    expect(isGood, name + where, wanted, value);
    remembered[name] = value as number;
  }
  try {
    group?.advance({ ...remembered }, options, 1, new Powers());
  } catch (error) {
    throw new TypeError(`No step can follow the state${where}: ${(error as Error).message}`, { cause: error });
  }
  const isTraining = (average === undefined ? undefined : own.train_mode) ?? true;
  expect(typeof isTraining === 'boolean', `train_mode${where}`, 'true or false', isTraining);
  return { remembered, isTraining };
}

/** How many steps schedules have counted, where the dict says so. */
export function completedOf(saved: Saved): number | undefined {
  const { completed_steps: completed } = saved.own;
  const isGood = completed === undefined || canCount(completed);
  expect(isGood, `completed_steps${saved.where}`, countFrom(0), completed);
  return completed as number | undefined;
}
