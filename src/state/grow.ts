// Adds groups and tensors to a running optimizer, and removes tensors. The others keep their memory and state.

import { Unavailable } from '../backends/backend.js';
import type { NewTensors } from '../backends/section.js';
import { readGroups, readTensors, type Existing } from '../inputs/groups.js';
import { checkWhole, memberOf, register, groupOf, takeGroup, type OptimizerState } from '../step/state.js';
import type { TensorEntry } from '../backends/plan.js';
import { expect, show } from '../errors.js';
import { Stepper } from '../step/group.js';

/** Adds a group, as soon as there is memory for it. */
export async function addGroup(parts: OptimizerState, group: unknown): Promise<void> {
  const { algorithm, common, steppers, backend } = parts;
  const { groups, added } = readGroups(algorithm, [group], common, existing(parts));
  await extend(parts, added, () => {
    const stepper = new Stepper(algorithm, groups[0], steppers.length, backend);
    // As a rule all groups are in one mode, and no step can be taken before they are. Most algorithms have none.
    stepper.isTraining = algorithm.average === undefined || steppers.every(({ isTraining }) => isTraining);
    takeGroup(parts, stepper);
  });
}

/** Adds tensors to a group, as `addGroup` does. */
export async function addTensors(parts: OptimizerState, index: number, record: unknown): Promise<void> {
  const stepper = groupOf(parts, index);
  const { options } = stepper.group;
  const where = ` of group ${index}`;
  const added = readTensors(parts.algorithm, [{ options, record, where }], existing(parts));
  if (added.sources.size === 0) throw new TypeError(`Expected at least one parameter, got ${show(record)}.`);
  await extend(parts, added, () => {
    register(parts, stepper.add(added.sections[0], parts.backend));
  });
}

/** The tensors to remove, by name. Throws where they cannot be removed now. */
function membersOf(parts: OptimizerState, names: unknown): Map<string, TensorEntry> {
  expect(Array.isArray(names) && names.length > 0, 'what is removed', 'an array of at least one name', names);
  checkWhole(parts);
  if (parts.isAdding) throw new Error('Parameters are being added: await that first.');
  const gone = new Map<string, TensorEntry>();
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string;
    const member = memberOf(parts, name);
    if (gone.has(name)) throw new TypeError(`The parameter ${show(name)} is listed twice.`);
    gone.set(name, member);
  }
  if (gone.size === parts.members.size) {
    throw new TypeError(
      'Expected some parameters to be left, got the names of all: dispose() lets go of an optimizer.',
    );
  }
  return gone;
}

/** Removes tensors by name, once no work is in flight. What cannot be removed is refused at once. */
export function removeParams(parts: OptimizerState, given: unknown): Promise<void> {
  const names = [...membersOf(parts, given).keys()];
  return parts.failure.onceSettled(() => removeTensors(parts, names));
}

/** Removes tensors by name, at once. */
export function removeTensors(parts: OptimizerState, given: unknown): void {
  const removed = membersOf(parts, given);
  const gone = new Set(removed.values());
  parts.backend.remove(parts.steppers.flatMap((stepper) => stepper.remove(gone)));
  for (const name of removed.keys()) {
    parts.members.delete(name);
    parts.removed.add(name);
  }
  parts.inOrder = parts.inOrder.filter((member) => !gone.has(member));
  parts.changes += 1;
}

/** Makes memory for what is new, and then has `take` take it in, all at once. */
async function extend(parts: OptimizerState, added: NewTensors, take: () => void): Promise<void> {
  if (parts.isAdding) throw new Error('Parameters are being added already: await that first.');
  parts.isAdding = true;
  try {
    const extension = await parts.backend.extend(added);
    try {
      parts.failure.check();
    } catch (error) {
      extension.drop();
      throw error;
    }
    extension.take();
    take();
    parts.changes += 1;
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    throw new Error(`The optimizer cannot take more parameters: ${error.message}.`, { cause: error });
  } finally {
    parts.isAdding = false;
  }
}

function existing(parts: OptimizerState): Existing {
  const { steppers, members, inOrder, memory, backend, removed } = parts;
  return {
    groups: steppers.length,
    sections: parts.sections,
    tensors: parts.tensors,
    one: [inOrder[0].tensor.name, memory],
    has: (name) => members.has(name),
    knows: (name) => members.has(name) || removed.has(name),
    at: (range) => backend.paramAt?.(range),
  };
}
