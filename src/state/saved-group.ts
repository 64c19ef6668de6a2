// Reads a group of a state dict: its names, state and mode. parse-options.ts reads its options.

import type { AnyAlgorithm, GroupOptions, GroupState } from '../algorithms/algorithm.js';
import { Powers } from '../math/power.js';
import { canCount, countFrom, expect, list, noParameter } from '../errors.js';
import type { Group } from '../step/group.js';
import { copyIndices, copyNames, ownProperties } from './capture.js';
import { TO_KEEP_OPTIONS, TO_LOAD_COMMON } from './load-options.js';

/** A group of a state dict, read once. */
export interface SourceGroup {
  /** Its place in the dict, for errors: " in param_groups[0]". */
  readonly where: string;
  readonly own: Readonly<Record<string, unknown>>;
  /** The names of its tensors, and their indices in `state`. */
  readonly names: readonly string[];
  readonly indices: readonly number[];
}

/**
 * Reads group `g` of a dict. Its tensors must be those named in `expected`, in any order; undefined accepts any.
 * PyTorch saves names only of named parameters: without names they are in the order of `expected`.
 */
export function readGroup(group: unknown, g: number, expected: readonly string[] | undefined): SourceGroup {
  const where = ` in param_groups[${g}]`;
  const own = ownProperties(group, `param_groups[${g}]`, 'a record with params');
  const indices = copyIndices(own.params, 'params', where);
  const names = own.param_names === undefined ? expected : copyNames(own.param_names, 'param_names', where);
  if (names === undefined)
    throw new TypeError(`Expected param_names${where}, since tensors are matched by name, got none.`);
  if (expected !== undefined) checkNames(names, expected, where);
  expect(indices.length === names.length, `the number of params${where}`, String(names.length), indices.length);
  return { where, own, names, indices };
}

function checkNames(names: readonly string[], expected: readonly string[], where: string): void {
  const [given, known] = [new Set(names), new Set(expected)];
  const unknown = names.filter((name) => !known.has(name));
  if (unknown.length > 0) throw new TypeError(noParameter(unknown, where, expected) + TO_LOAD_COMMON);
  const missing = expected.filter((name) => !given.has(name));
  if (missing.length === 0) return;
  throw new TypeError(`The state dict lacks the parameter ${list(missing)}${where}.${TO_LOAD_COMMON}`);
}

/** Returns the names in the list `key` of a saved group; undefined for dicts without it, such as PyTorch's. */
export function namesIn(
  { own, names, where }: SourceGroup,
  key: 'frozen' | 'no_decay',
): ReadonlySet<string> | undefined {
  if (own[key] === undefined) return undefined;
  const listed = copyNames(own[key], key, where);
  const known = new Set(names);
  const unknown = listed.filter((name) => !known.has(name));
  if (unknown.length > 0) throw new TypeError(noParameter(unknown, `, listed as ${key}${where}`, names));
  return new Set(listed);
}

/** Throws if the optimizer's decay mask disagrees with the dict. */
export function checkNoDecay(saved: SourceGroup, { entries }: Group): void {
  const withoutDecay = namesIn(saved, 'no_decay');
  if (withoutDecay === undefined) return;
  const shared = new Set(saved.names);
  const others = entries.filter(
    ({ tensor: { name, decays } }) => shared.has(name) && decays === withoutDecay.has(name),
  );
  if (others.length === 0) return;
  const which = list(others.map(({ tensor }) => tensor.name));
  throw new TypeError(
    `The decay mask of this optimizer disagrees on ${which} with the state dict${saved.where}.${TO_KEEP_OPTIONS}`,
  );
}

/** Returns the state of the group, and its mode. Throws if a step with `options` could not continue from that state. */
export function parseState(
  { group, average }: AnyAlgorithm,
  options: Readonly<GroupOptions>,
  { own, where }: SourceGroup,
): { groupState: GroupState; skipped: number; isTraining: boolean } {
  const groupState: GroupState = {};
  for (const [name, first] of Object.entries(group?.first ?? {})) {
    const value = own[name];
    const least = Math.min(first, 0);
    const [wanted, isGood] =
      name === 'k'
        ? [countFrom(least), canCount(value, least)]
        : [`a finite number of at least ${least}`, Number.isFinite(value) && (value as number) >= least];
    expect(isGood, name + where, wanted, value);
    groupState[name] = value as number;
  }
  try {
    group?.advance({ ...groupState }, options, 1, new Powers());
  } catch (error) {
    throw new TypeError(`No step can follow the state${where}: ${(error as Error).message}`, { cause: error });
  }
  const isTraining = (average === undefined ? undefined : own.train_mode) ?? true;
  expect(typeof isTraining === 'boolean', `train_mode${where}`, 'true or false', isTraining);
  const skipped = group === undefined || own.skipped_steps === undefined ? 0 : own.skipped_steps;
  expect(canCount(skipped), `skipped_steps${where}`, countFrom(0), skipped);
  return { groupState, skipped, isTraining };
}

/** Returns the completed steps; undefined if the group does not have them. */
export function completedOf(saved: SourceGroup): number | undefined {
  const { completed_steps: completed } = saved.own;
  const isGood = completed === undefined || canCount(completed);
  expect(isGood, `completed_steps${saved.where}`, countFrom(0), completed);
  return completed as number | undefined;
}
