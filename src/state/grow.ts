// Adds groups and tensors to a running optimizer, and removes tensors. The others keep their memory and state.

import { namesOf, Unavailable, type Removed } from '../backends/backend.js';
import { locate } from '../backends/webgpu/locate.js';
import type { NewTensors } from '../backends/section.js';
import { readGroups, readTensors, type Existing } from '../inputs/groups.js';
import {
  checkBetweenSteps,
  checkUsable,
  entryOf,
  groupOf,
  registerEntries,
  registerGroup,
  type OptimizerState,
} from '../step/state.js';
import type { TensorEntry } from '../backends/plan.js';
import { expect, expectOptions, ownOf, show } from '../errors.js';
import { Group } from '../step/group.js';

/** Adds a group once its memory is allocated. */
export async function addGroup(state: OptimizerState, given: unknown): Promise<void> {
  const { algorithm, common, groups, backend } = state;
  const { specs, added } = readGroups(algorithm, [given], common, existing(state)).describe(locate);
  await extend(state, added, () => {
    const group = new Group(algorithm, specs[0], groups.length, backend);
    // Groups are usually in the same mode. If they differ, this one is in eval mode: a step needs all in train mode
    // anyway.
    group.isTraining = algorithm.average === undefined || groups.every(({ isTraining }) => isTraining);
    registerGroup(state, group);
  });
}

/** Adds tensors to a group, as `addGroup` does. */
export async function addTensors(
  state: OptimizerState,
  which: number | string,
  record: unknown,
  given: unknown,
): Promise<void> {
  expectOptions(given, 'addParams', ['shapes']);
  const { shapes } = ownOf(given);
  const group = groupOf(state, which);
  const { options, label } = group.spec;
  const where = ` of group ${label}`;
  const { count, describe } = readTensors(state.algorithm, [{ options, record, shapes, where }], existing(state));
  if (count === 0) throw new TypeError(`Expected at least one parameter, got ${show(record)}.`);
  const added = describe(locate);
  await extend(state, added, () => {
    registerEntries(state, group.add(added.sections[0], state.backend));
  });
}

/** Returns the tensors to remove, by name. Throws if they cannot be removed now. */
function entriesOf(state: OptimizerState, names: unknown): Map<string, TensorEntry> {
  expect(Array.isArray(names) && names.length > 0, 'the names to remove', 'an array of at least one', names);
  checkBetweenSteps(state);
  if (state.isAdding) throw new Error('Parameters are being added: await that first.');
  const gone = new Map<string, TensorEntry>();
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string;
    const entry = entryOf(state, name);
    if (gone.has(name)) throw new TypeError(`The parameter ${show(name)} is listed twice.`);
    gone.set(name, entry);
  }
  if (gone.size === state.entries.size) {
    throw new TypeError('Cannot remove all parameters of an optimizer: to free it, call dispose().');
  }
  return gone;
}

/** Removes tensors by name, once no work is in flight. Throws at once for tensors that cannot be removed. */
export async function removeParams(state: OptimizerState, given: unknown): Promise<void> {
  const names = [...entriesOf(state, given).keys()];
  const { backend } = state;
  // Steps may be taken meanwhile.
  for (let changes = -1; backend.settled !== undefined && changes !== state.changes;) {
    ({ changes } = state);
    await backend.settled();
  }
  checkUsable(state);
  removeTensors(state, names);
}

/** Removes tensors by name, at once. */
export function removeTensors(state: OptimizerState, given: unknown): void {
  const removed = entriesOf(state, given);
  const gone = new Set(removed.values());
  state.backend.remove(state.groups.flatMap((group) => removeFrom(group, gone)));
  for (const name of removed.keys()) {
    state.entries.delete(name);
    state.removed.add(name);
  }
  state.entriesInOrder = state.entriesInOrder.filter((entry) => !gone.has(entry));
  state.shapes = undefined;
  state.changes += 1;
}

/** Removes tensors from a group. Returns the sections that had some of them. */
function removeFrom({ sections, entries, names }: Group, gone: ReadonlySet<TensorEntry>): Removed[] {
  const changed = sections.flatMap((plan): Removed | [] => {
    const tensors = plan.entries.filter((entry) => gone.has(entry)).map(({ tensor }) => tensor);
    // A change of mode skips tensors with 0 steps.
    for (const tensor of tensors) tensor.step = 0;
    plan.left -= tensors.length;
    return tensors.length > 0 ? { section: plan.section.index, tensors, isWhole: plan.left === 0 } : [];
  });
  const removed = namesOf(changed);
  keep(sections, ({ left, section }) => left > 0 || section.tensors.length === 0);
  keep(entries, (entry) => !gone.has(entry));
  keep(names, (name) => !removed.has(name));
  return changed;
}

/** Filters an array in place. */
function keep<Item>(items: Item[], isKept: (item: Item) => boolean): void {
  const kept = items.filter(isKept);
  items.length = 0;
  for (const item of kept) items.push(item);
}

/** Allocates memory for new tensors, then calls `take` to add them. */
async function extend(state: OptimizerState, added: NewTensors, take: () => void): Promise<void> {
  if (state.isAdding) throw new Error('Parameters are being added already: await that first.');
  state.isAdding = true;
  try {
    const extension = await state.backend.extend(added);
    try {
      checkUsable(state);
    } catch (error) {
      extension.drop();
      throw error;
    }
    extension.take();
    take();
    state.changes += 1;
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    throw new Error(`Cannot add parameters: ${error.message}.`, { cause: error });
  } finally {
    state.isAdding = false;
  }
}

function existing(state: OptimizerState): Existing {
  const { groups, entries, entriesInOrder, memory, backend, removed } = state;
  return {
    groups: groups.length,
    sections: state.sections,
    tensors: state.tensors,
    one: [entriesInOrder[0].tensor.name, memory],
    hasGroup: (name) => groups.some(({ spec }) => spec.name === name),
    has: (name) => entries.has(name),
    knows: (name) => entries.has(name) || removed.has(name),
    at: (range) => backend.paramAt?.(range),
    owns: ({ buffer }) => backend.owns?.(buffer) ?? false,
  };
}
